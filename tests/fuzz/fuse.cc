// libFuzzer on what a FUSE program answers: requests of all shapes wait, and an input takes them and writes answers of
// any length, number and error. Whatever comes, each request has one answer at most, and no page is lost.
#include "sys/userfs/fuse_server.h"
#include "tests/fuzz/in_kernel.h"
#include "tests/sys/userfs/fuse_line.h"

using namespace fuse_test;

namespace {

constexpr opcode opcodes[] = {opcode::look_up,
                              opcode::forget,
                              opcode::read,
                              opcode::create,
                              opcode::get_extended,
                              opcode::read_directory,
                              opcode::read_directory_with,
                              opcode::forget_many,
                              opcode::allocate,
                              opcode::seek};

request_ref some_request(fuzz::number_stream& decisions) {
    auto made = request::make({.opcode = opcodes[decisions.below(std::size(opcodes))],
                               .node = decisions.below(5),
                               .how = static_cast<taking>(decisions.below(4)),
                               .most = decisions.below(2) ? decisions.below(128) : decisions.below(10000)});
    return made ? *std::move(made) : request_ref();
}

// What a program tells by itself, of the shape it should have but for a little.
k::result<k::u64> some_news(program& p, fuzz::number_stream& decisions) {
    std::byte said[320] = {};
    constexpr k::u64 ends[] = {0, 1, 4096, ~k::u64{0}, ~k::u64{0} >> 1, k::u64{1} << 63};
    k::u64 words[3] = {decisions.below(4), ends[decisions.below(6)], ends[decisions.below(6)]};
    const auto what = static_cast<k::i32>(decisions.below(9));
    k::u64 bytes = sizeof(words);
    if (what == static_cast<k::i32>(news::name_is_old) || what == static_cast<k::i32>(news::name_is_gone)) {
        const k::u64 name_bytes = decisions.below(280);
        bytes = what == static_cast<k::i32>(news::name_is_old) ? sizeof(name_news) : sizeof(gone_news);
        words[bytes / 8 - 1] = name_bytes;
        for (k::u64 i = 0; i < name_bytes; i++)
            said[bytes + i] = static_cast<std::byte>(decisions.below(16) ? 'a' : decisions.below(256));
        bytes += name_bytes + 1;
    }
    std::memcpy(said, words, what == static_cast<k::i32>(news::name_is_old) ? sizeof(name_news) : sizeof(words));
    if (!decisions.below(8)) bytes = decisions.below(sizeof(said));
    return p.answer(0, what, {said, bytes});
}

} // namespace

void fuzz::run_input(number_stream& decisions) {
    program p;
    vfs::file_system_ref listens; // or nobody does
    REQUIRE(p);
    if (decisions.below(2)) {
        auto made = vfs::make_fuse(p.share(), {.type = "fuse", .root_mode = 0040755});
        REQUIRE(made);
        listens = *std::move(made);
    } else {
        REQUIRE(p->begin({}, ~k::u64{0}));
    }
    static std::byte bytes[12000];
    k::u64 known[16] = {};
    unsigned at = 0;
    if (decisions.below(2)) { // with an init that is good
        auto init = p.take();
        REQUIRE(init);
        init_answer said{};
        said.major = major_version, said.minor = least_minor + static_cast<k::u32>(decisions.below(30));
        said.flags = page_count, said.most_pages = static_cast<k::u16>(decisions.below(65536));
        said.most_write = static_cast<k::u32>(decisions.below(1 << 22));
        REQUIRE(p.answer(init->unique, 0, std::as_bytes(std::span(&said, 1))));
        EXPECT(p->most_write() >= arch::page_size && p->most_write() <= 1 << 20);
    }
    while (decisions.more()) {
        switch (decisions.below(9)) {
        case 0:
        case 1:
            if (request_ref r = some_request(decisions)) (void)p->post(std::move(r));
            break;
        case 2:
        case 3:
            if (auto head = p.take()) known[at++ % 16] = head->unique;
            break;
        case 4: p->end({}, decisions.below(2)); break;
        case 5: (void)some_news(p, decisions); break;
        case 6: listens.reset(); break;
        default: {
            const k::u64 unique = decisions.below(8) ? known[decisions.below(16)] : decisions.below(1000);
            const k::u64 count = decisions.below(2) ? decisions.below(160) : decisions.below(sizeof(bytes));
            const k::i32 error = decisions.below(2) ? 0 : static_cast<k::i32>(decisions.below(1200)) - 600;
            const k::u64 claimed = sizeof(answer_head) + (decisions.below(8) ? count : decisions.below(1 << 16));
            const bool took = bool(p.answer(unique, error, {bytes, count}, claimed));
            if (took && !(unique & 1)) EXPECT(!p.answer(unique, 0)); // a second one
        }
        }
    }
}
