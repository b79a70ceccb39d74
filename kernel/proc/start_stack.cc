#include "kernel/proc/start_stack.h"

#include "kernel/proc/random.h"

#include <algorithm>

namespace proc {

namespace {

constexpr k::u64 page = arch::page_size;
constexpr k::u64 mib = k::u64{1} << 20, gib = k::u64{1} << 30;
constexpr k::u64 least_stack = 256 * 1024, first_stack = 128 * 1024;
constexpr k::u32 no_randomisation = 0x0040000; // personality(2)'s ADDR_NO_RANDOMIZE
constexpr k::u64 program_base = arch::user_end / 3 * 2 / page * page;

std::atomic<bool> randomisation = true;

// The auxiliary vector's keys.
enum auxiliary : k::u64 {
    aux_end = 0,
    aux_headers = 3,
    aux_header_bytes = 4,
    aux_header_count = 5,
    aux_page_size = 6,
    aux_interpreter_base = 7,
    aux_flags = 8,
    aux_entry = 9,
    aux_uid = 11,
    aux_effective_uid = 12,
    aux_gid = 13,
    aux_effective_gid = 14,
    aux_platform = 15,
    aux_capabilities = 16,
    aux_clock_ticks = 17,
    aux_secure = 23,
    aux_random = 25,
    aux_capabilities_2 = 26,
    aux_file_name = 31,
    aux_vdso = 33,
    aux_least_signal_stack = 51,
};

// A random multiple of a page below `pages` pages; a power of two.
k::u64 random_pages(k::u64 pages) {
    return random_number() % pages * page;
}

// Writes upwards or downwards, and remembers whether all of it arrived.
class writer {
  public:
    explicit writer(vm::space& space) noexcept : space_(space) {}
    void put(xio::user_address at, const void* bytes, k::u64 count) noexcept {
        good_ &= space_.copy_out(at, bytes, count) == count;
    }
    void put(xio::user_address at, std::string_view text) noexcept { put(at, text.data(), text.size()); }
    bool good() const noexcept { return good_; }

  private:
    vm::space& space_;
    bool good_ = true;
};

// 64-bit words, one after the other, written in batches.
class words {
  public:
    words(writer& out, xio::user_address at) noexcept : out_(out), at_(at) {}
    ~words() { flush(); }
    void put(k::u64 word) noexcept {
        batch_[used_++] = word;
        if (used_ == std::size(batch_)) flush();
    }

  private:
    void flush() noexcept {
        out_.put(at_, batch_, used_ * sizeof(k::u64));
        at_ += used_ * sizeof(k::u64);
        used_ = 0;
    }
    writer& out_;
    xio::user_address at_;
    unsigned used_ = 0;
    k::u64 batch_[32];
};

void put_texts(writer& out, xio::user_address at, const argument_list& list) {
    list.for_each_piece([&](std::string_view piece) {
        out.put(at, piece);
        at += piece.size();
        return out.good();
    });
}

// The addresses of the texts of a list that begins at `at`, and a null.
void put_pointers(words& out, xio::user_address at, const argument_list& list) {
    bool begins = true;
    list.for_each_piece([&](std::string_view piece) {
        for (char c : piece) {
            if (begins) out.put(at);
            begins = c == '\0';
            at++;
        }
        return true;
    });
    out.put(0);
}

} // namespace

void switch_randomisation_off() noexcept {
    randomisation = false;
}

k::u64 most_text_bytes(const process& p) noexcept {
    return std::clamp<k::u64>(p.limits.soft(resource::stack) / 4, 128 * 1024, 6 * mib);
}

layout choose_layout(const process& p) noexcept {
    const bool random = randomisation && !(p.personality.load(std::memory_order_relaxed) & no_randomisation);
    const k::u64 stack_bytes =
        k::align_up(std::clamp<k::u64>(p.limits.soft(resource::stack), least_stack, 16 * gib), page);
    layout l{};
    l.stack_top = arch::user_end - (random ? random_pages(1 << 22) : 0);
    l.stack_bytes = stack_bytes;
    l.mmap_top = l.stack_top - std::max(stack_bytes, 128 * mib) - mib - (random ? random_pages(1 << 28) : 0);
    l.vdso = random ? l.stack_top + random_number() % ((arch::user_end - l.stack_top) / page + 1) * page : 0;
    l.program = program_base + (random ? random_pages(1 << 28) : 0);
    l.heap_gap = random ? random_pages(1 << 13) : 0;
    return l;
}

k::result<start_point> build_stack(const process& p, vm::space& into, const layout& places, const start_facts& facts,
                                   const argument_list& arguments, const argument_list& environment) noexcept {
    constexpr std::string_view platform{"x86_64", 7}; // with its zero byte
    constexpr k::u64 pairs = 21;
    // From the top down: a null word, the file's name, the environment's texts, the arguments' texts, the platform's
    // name, random bytes; then, aligned, what the stack pointer shows.
    k::u64 at = places.stack_top - sizeof(k::u64) - (facts.file_name.size() + 1);
    const xio::user_address file_name = at;
    const xio::user_address environment_base = at -= environment.bytes();
    const xio::user_address arguments_base = at -= arguments.bytes();
    const xio::user_address platform_at = at -= platform.size();
    at -= 16;
    const xio::user_address random_at = at = k::align_down<k::u64>(at, 16);
    at -= (1 + arguments.count() + 1 + environment.count() + 1 + 2 * pairs) * sizeof(k::u64);
    const xio::user_address stack = k::align_down<k::u64>(at, 16);

    const k::u64 used = places.stack_top - stack;
    const k::u64 bytes = std::min(places.stack_bytes, k::align_up(used + first_stack, page));
    if (used + page > bytes) return k::error::toobig;
    vm::map_request request{.hint = places.stack_top - bytes, .bytes = bytes};
    request.fixed = true;
    request.grows_down = true;
    request.lowest = places.stack_top - places.stack_bytes;
    TRY(into.map(request));

    writer out(into);
    out.put(file_name, facts.file_name); // the memory is zeroes, so a zero byte follows
    put_texts(out, environment_base, environment);
    put_texts(out, arguments_base, arguments);
    out.put(platform_at, platform);
    std::byte random_bytes[16];
    fill_random(random_bytes);
    out.put(random_at, random_bytes, sizeof(random_bytes));
    {
        words w(out, stack);
        w.put(arguments.count());
        put_pointers(w, arguments_base, arguments);
        put_pointers(w, environment_base, environment);
        const credentials who = p.who.read();
        auto pair = [&w](auxiliary key, k::u64 value) {
            w.put(key);
            w.put(value);
        };
        pair(aux_headers, facts.headers);
        pair(aux_header_bytes, facts.header_bytes);
        pair(aux_header_count, facts.header_count);
        pair(aux_page_size, page);
        pair(aux_interpreter_base, facts.interpreter_base);
        pair(aux_flags, 0);
        pair(aux_entry, facts.entry);
        pair(aux_uid, facts.user.real);
        pair(aux_effective_uid, facts.user.effective);
        pair(aux_gid, facts.group.real);
        pair(aux_effective_gid, facts.group.effective);
        pair(aux_platform, platform_at);
        pair(aux_capabilities, 0);
        pair(aux_clock_ticks, 100);
        pair(aux_secure, facts.secure);
        pair(aux_random, random_at);
        pair(aux_capabilities_2, 0);
        pair(aux_file_name, file_name);
        pair(aux_least_signal_stack, signal_frame_bytes());
        if (facts.vdso) pair(aux_vdso, facts.vdso);
        pair(aux_end, 0);
    }
    if (!out.good()) return k::error::nomem;
    return start_point{.entry = 0,
                       .stack = stack,
                       .arguments_base = arguments_base,
                       .arguments_end = environment_base,
                       .environment_end = file_name};
}

} // namespace proc
