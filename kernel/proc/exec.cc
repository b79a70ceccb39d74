// exec: the new space is built whole beside the old one, with the thread looking at it for as long as that takes; only
// when nothing can fail any more the old one goes. So whatever the file and the arguments are, the caller lives on.
#include "kernel/proc/exec.h"

#include "kernel/lib/log.h"
#include "kernel/mem/slab.h"
#include "kernel/proc/exit.h"
#include "kernel/proc/futex.h"
#include "kernel/proc/program.h"
#include "kernel/proc/start_stack.h"
#include "kernel/proc/tree_priv.h"
#include "kernel/proc/user_loop.h"
#include "sys/vm/user_pointer.h"

#include <algorithm>

namespace proc {

namespace {

constexpr unsigned most_scripts = 4; // one that names the next
constexpr std::size_t script_line = 256;

// What to run: a program, and the texts that interpreters of scripts put in front.
struct target {
    program_file file;
    char path[most_path];                          // of the program that is loaded
    char texts[most_scripts][script_line];         // the first lines of the scripts
    std::string_view before[2 * most_scripts + 1]; // texts in front of argv[1], the last one first
    unsigned before_count = 0;
    elf::image image, interpreter;
};

// Blanks around the words of a script's first line.
std::string_view trim(std::string_view text) {
    while (!text.empty() && (text.front() == ' ' || text.front() == '\t'))
        text.remove_prefix(1);
    while (!text.empty() && (text.back() == ' ' || text.back() == '\t' || text.back() == '\r'))
        text.remove_suffix(1);
    return text;
}

// `#! interpreter [one argument]`. ENOEXEC: the line is not one, or is cut off.
struct script_head {
    std::string_view interpreter, argument;
};
k::result<script_head> read_script_head(std::string_view file, char (&keep)[script_line]) {
    const std::string_view start = file.substr(0, script_line);
    std::size_t end = start.find('\n');
    if (end == start.npos) end = start.size();
    if (end == script_line) return k::error::noexec;
    const std::string_view line{keep, start.copy(keep, end)};
    if (line.find('\0') != line.npos) return k::error::noexec;
    const std::string_view words = trim(line.substr(2));
    const std::size_t blank = words.find_first_of(" \t");
    const script_head head{words.substr(0, blank), blank == words.npos ? "" : trim(words.substr(blank))};
    if (head.interpreter.empty()) return k::error::noexec;
    return head;
}

std::string_view text_of(std::span<const std::byte> bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// A path as seen from the working directory, made absolute. ENOENT if it is empty; ENAMETOOLONG.
k::result<std::string_view> make_absolute(process& p, std::string_view path, char (&buffer)[most_path]) {
    if (path.empty()) return k::error::noent;
    k::buffer_sink out(buffer);
    k::u64 needed = path.size();
    if (path.front() != '/') {
        const auto directory = p.working_directory();
        out.put(directory->view());
        out.put("/");
        needed += directory->view().size() + 1;
    }
    if (needed >= most_path) return k::error::nametoolong;
    out.put(path);
    return out.view();
}

// Finds the program, through scripts that name others, and reads its head.
k::status find_target(process& p, std::string_view path, target& out) {
    std::string_view at = TRY(make_absolute(p, path, out.path));
    for (unsigned scripts = 0;; scripts++) {
        out.file = TRY(open_program(at));
        const std::string_view text = text_of(out.file.bytes);
        if (!text.starts_with("#!")) break;
        if (scripts == most_scripts) return k::error::loop;
        const script_head head = TRY(read_script_head(text, out.texts[scripts]));
        // The script's own name takes the place of argv[0], behind the interpreter's name and argument.
        if (!scripts) out.before[out.before_count++] = path;
        if (!head.argument.empty()) out.before[out.before_count++] = head.argument;
        out.before[out.before_count++] = head.interpreter;
        at = TRY(make_absolute(p, head.interpreter, out.path));
    }
    return elf::read(out.file.bytes, out.image);
}

// Looks at another space for a scope.
class visit_space {
  public:
    visit_space(thread& t, vm::space& other) noexcept : thread_(t) { use_space(t, other); }
    ~visit_space() { use_space(thread_, *thread_.owner.space); }
    visit_space(const visit_space&) = delete;

  private:
    thread& thread_;
};

// What the new program starts with.
struct built {
    k::ref<vm::space> space;
    start_point start;
    xio::user_address vdso = 0;
};

k::status collect_texts(const target& what, exec_texts& texts, argument_list& arguments, argument_list& environment) {
    for (unsigned i = what.before_count; i-- > 0;)
        TRY(arguments.add(what.before[i]));
    TRY(texts.add_arguments(arguments, what.before_count != 0));
    if (!arguments.count()) TRY(arguments.add("")); // nobody expects argc to be 0
    return texts.add_environment(environment);
}

// Fills a fresh space, which the thread runs in meanwhile.
k::status build(process& p, target& what, std::string_view name, const argument_list& arguments,
                const argument_list& environment, built& out) {
    vm::space& space = *out.space;
    const layout places = choose_layout(p);
    space.set_mmap_top(places.mmap_top);
    space.set_limit(p.limits.soft(resource::address_space));
    space.set_data_limit(p.limits.soft(resource::data));

    const loaded_program program =
        TRY(load_program(space, what.image, what.file, what.image.anywhere ? places.program : 0));
    k::u64 entry = program.entry, interpreter_base = 0;
    if (!what.image.interpreter.empty()) {
        const program_file file = TRY(open_program(what.image.interpreter));
        TRY(elf::read(file.bytes, what.interpreter));
        const loaded_program loaded = TRY(load_program(space, what.interpreter, file, 0));
        entry = loaded.entry;
        interpreter_base = loaded.bias;
    }
    space.start_heap(program.end + places.heap_gap);
    const start_facts facts{.entry = program.entry,
                            .headers = what.image.headers ? what.image.headers + program.bias : 0,
                            .header_bytes = what.image.header_bytes,
                            .header_count = what.image.header_count,
                            .interpreter_base = interpreter_base,
                            .vdso = out.vdso,
                            .file_name = name};
    out.start = TRY(build_stack(p, space, places, facts, arguments, environment));
    out.start.entry = entry;
    return {};
}

void set_name(thread& t, std::string_view path) {
    const std::string_view base = path.substr(path.rfind('/') + 1);
    const std::size_t length = base.copy(t.name, sizeof(t.name) - 1);
    std::fill(t.name + length, std::end(t.name), '\0');
}

// The only thread left has the number of its process from now on, if the main thread was another.
void take_main_number(thread& t) {
    if (t.tid == t.owner.pid) return;
    lwkt::token_hold hold(tree);
    remove(t);
    t.tid = t.owner.pid;
    enter(t);
    t.signals.set_id(t.tid);
}

// From here on the old program is gone.
void commit(thread& t, built& fresh, k::ref<shared_text> program, std::string_view name) {
    process& p = t.owner;
    release_robust_list(*p.space, t.robust_list, t.tid);
    t.robust_list = 0;
    t.clear_child_tid = 0;
    take_main_number(t);
    {
        lwkt::spin_guard guard(p.threads_lock);
        std::swap(p.space, fresh.space);
    }
    use_space(t, *p.space);
    fresh.space.reset();
    if (t.lease) {
        t.lease->end();
        t.lease.reset();
    }
    t.files->close_on_exec();
    reset_signals_for_exec(t);
    p.set_program(std::move(program));
    p.vdso_base = fresh.vdso;
    p.arguments_base = fresh.start.arguments_base;
    p.arguments_end = fresh.start.arguments_end;
    p.environment_end = fresh.start.environment_end;
    p.dumpable = true;
    set_name(t, name);
    t.user.reset(fresh.start.entry, fresh.start.stack);
    lwkt::token_hold hold(tree);
    p.has_run_exec = true;
    p.exit_signal = sig_chld;
}

} // namespace

k::status user_texts::add_all(argument_list& to, xio::user_address array, bool skip_first) noexcept {
    if (!array) return {};
    for (k::u64 i = 0;; i++) {
        const k::u64 text = TRY(vm::user_pointer<const k::u64>(array + i * sizeof(k::u64)).read(space_));
        if (!text) return {};
        if (i || !skip_first) TRY(to.add(space_, text));
    }
}

k::status user_texts::add_arguments(argument_list& to, bool skip_first) noexcept {
    return add_all(to, arguments_, skip_first);
}

k::status user_texts::add_environment(argument_list& to) noexcept {
    return add_all(to, environment_, false);
}

k::status exec(thread& t, std::string_view path, exec_texts& texts) noexcept {
    process& p = t.owner;
    auto what = mem::make_box<target>();
    if (!what) return k::error::nomem;
    TRY(find_target(p, path, *what));
    k::ref<shared_text> program = TRY(shared_text::create(std::string_view(what->path)));

    const k::u64 most = most_text_bytes(p);
    argument_list arguments(most), environment(most);
    TRY(collect_texts(*what, texts, arguments, environment));
    if (arguments.bytes() + environment.bytes() + (arguments.count() + environment.count()) * sizeof(k::u64) > most)
        return k::error::toobig;

    built fresh{.space = TRY(vm::space::create()), .start = {}};
    {
        visit_space visit(t, *fresh.space);
        TRY(build(p, *what, path, arguments, environment, fresh));
    }
    TRY(become_only_thread(t));
    if (t.files->holders() > 1) t.files = TRY(t.files->clone());
    commit(t, fresh, std::move(program), path);
    return {};
}

} // namespace proc
