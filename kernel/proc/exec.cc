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
#include "kernel/proc/vdso.h"
#include "sys/vm/user_pointer.h"

#include <algorithm>

namespace proc {

namespace {

constexpr unsigned most_scripts = 4; // one that names the next
constexpr std::size_t script_line = 256;

// What to run: a program, and the texts that interpreters of scripts put in front.
struct target {
    program_file file, interpreter_file;
    char path[most_path];                          // of the interpreter
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

// Finds the program, through scripts that name others, and reads its head.
k::status find_target(const exec_request& what, target& out) {
    const auto again = [](const vfs::found& f) { return vfs::found{f.in.share(), f.node.share(), f.called.share()}; };
    std::string_view at = what.path;
    for (unsigned scripts = 0;; scripts++) {
        if (what.file && !scripts)
            TRY(open_program(what.v.who, again(*what.file), out.file));
        else
            TRY(open_program(what.v, at, out.file));
        const std::string_view text = text_of(out.file.start());
        if (!text.starts_with("#!")) break;
        if (scripts == most_scripts) return k::error::loop;
        const script_head head = TRY(read_script_head(text, out.texts[scripts]));
        // The script's own name takes the place of argv[0], behind the interpreter's name and argument.
        if (!scripts) out.before[out.before_count++] = what.path;
        if (!head.argument.empty()) out.before[out.before_count++] = head.argument;
        out.before[out.before_count++] = head.interpreter;
        at = head.interpreter;
    }
    return elf::read(out.file.start(), out.file.size(), out.image);
}

// The program that an image names to load it: into `out`, which has the same image's text in `path` meanwhile.
k::status find_interpreter(const vfs::view& v, const program_file& program, const elf::image& image,
                           char (&path)[most_path], program_file& out) {
    TRY(program.read(image.interpreter_offset, std::as_writable_bytes(std::span(path, image.interpreter_bytes))));
    return open_program(v, TRY(elf::interpreter_path({path, image.interpreter_bytes})), out);
}

// What the new program starts with.
struct built {
    k::ref<vm::space> space;
    start_point start;
    identity user{}, group{};
    xio::user_address vdso = 0;
};

k::status collect_texts(const target& what, exec_texts& texts, argument_list& arguments, argument_list& environment) {
    for (unsigned i = what.before_count; i-- > 0;)
        TRY(arguments.add(what.before[i]));
    TRY(texts.add_arguments(arguments, what.before_count != 0));
    if (!arguments.count()) TRY(arguments.add("")); // nobody expects argc to be 0
    return texts.add_environment(environment);
}

// Who the process will be: its owner's or its group's, if the file has the bits and they count here. The saved ids and
// those for files are the effective ones from then on, as POSIX has it. The owner is told whether that is more than it
// was.
bool choose_ids(const process& p, const vfs::found& file, built& out) {
    out.user = p.who.user();
    out.group = p.who.group();
    const k::u32 mode = file.node->mode.load(std::memory_order_relaxed);
    const bool counts = !(file.in && (file.in->flags() & vfs::mount_no_set_id)) && !p.no_new_privileges.load();
    constexpr k::u32 group_runs = 0010;
    if (counts && (mode & vfs::set_user)) out.user.effective = file.node->uid.load(std::memory_order_relaxed);
    if (counts && (mode & vfs::set_group) && (mode & group_runs))
        out.group.effective = file.node->gid.load(std::memory_order_relaxed);
    out.user.saved = out.user.for_files = out.user.effective;
    out.group.saved = out.group.for_files = out.group.effective;
    return out.user.effective != out.user.real || out.group.effective != out.group.real;
}

// Fills a fresh space, which the thread runs in meanwhile.
k::status build(process& p, const vfs::view& v, target& what, std::string_view name, const argument_list& arguments,
                const argument_list& environment, built& out) {
    vm::space& space = *out.space;
    const layout places = choose_layout(p);
    space.set_mmap_top(places.mmap_top);
    space.set_limit(p.limits.soft(resource::address_space));
    space.set_data_limit(p.limits.soft(resource::data));

    const loaded_program program =
        TRY(load_program(space, what.image, what.file, what.image.anywhere ? places.program : 0));
    k::u64 entry = program.entry, interpreter_base = 0;
    if (what.image.interpreter_bytes) {
        const program_file& file = what.interpreter_file;
        TRY(find_interpreter(v, what.file, what.image, what.path, what.interpreter_file));
        TRY(elf::read(file.start(), file.size(), what.interpreter));
        const loaded_program loaded = TRY(load_program(space, what.interpreter, file, 0));
        file.held->allow_writing();
        entry = loaded.entry;
        interpreter_base = loaded.bias;
    }
    space.start_heap(program.end + places.heap_gap);
    const bool secure = choose_ids(p, what.file.what(), out);
    out.vdso = TRY(map_vdso(space, places.vdso));
    const start_facts facts{.entry = program.entry,
                            .headers = what.image.headers ? what.image.headers + program.bias : 0,
                            .header_bytes = what.image.header_bytes,
                            .header_count = what.image.header_count,
                            .interpreter_base = interpreter_base,
                            .vdso = out.vdso,
                            .user = out.user,
                            .group = out.group,
                            .secure = secure,
                            .file_name = name};
    out.start = TRY(build_stack(p, space, places, facts, arguments, environment));
    out.start.entry = entry;
    return {};
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
void commit(thread& t, built& fresh, k::ref<held_program> program, std::string_view name) {
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
    p.dumpable = fresh.user.effective == fresh.user.real && fresh.group.effective == fresh.group.real;
    (void)p.who.change([&](credentials& c) -> k::status {
        c.user = fresh.user;
        c.group = fresh.group;
        return {};
    });
    set_name(t, name.substr(name.rfind('/') + 1));
    t.user.reset(fresh.start.entry, fresh.start.stack);
    lwkt::token_hold hold(tree);
    p.has_run_exec = true;
    p.execs++;
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

k::status exec(thread& t, const exec_request& request, exec_texts& texts) noexcept {
    process& p = t.owner;
    auto what = mem::make_box<target>();
    if (!what) return k::error::nomem;
    TRY(find_target(request, *what));

    const k::u64 most = most_text_bytes(p);
    argument_list arguments(most), environment(most);
    TRY(collect_texts(*what, texts, arguments, environment));
    if (arguments.bytes() + environment.bytes() + (arguments.count() + environment.count()) * sizeof(k::u64) > most)
        return k::error::toobig;

    built fresh{.space = TRY(vm::space::create()), .start = {}};
    {
        visit_space visit(t, *fresh.space);
        TRY(build(p, request.v, *what, request.path, arguments, environment, fresh));
    }
    TRY(become_only_thread(t));
    if (t.files->holders() > 1) t.set_files(TRY(t.files->clone(false)));
    commit(t, fresh, what->file.held.share(), request.path);
    return {};
}

} // namespace proc
