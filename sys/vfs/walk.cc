#include "sys/vfs/walk.h"

#include "kernel/lib/format.h"
#include "sys/vfs/program_names.h"
#include "sys/vfs/vop.h"

#include <cstring>
#include <optional>

namespace vfs {

namespace {

// A component of a path, and what is behind it.
struct component {
    name_text name{{}, {}};
    bool last = false;            // nothing but slashes is behind it
    bool wants_directory = false; // at least one is

    bool is(std::string_view t) const noexcept { return name.text == t; }
    bool is_dots() const noexcept { return name.text[0] == '.' && name.text.size() <= 2; }
};

// What is left to walk, on top of what is behind it: the text of a link, or the caller's path.
struct piece {
    std::string_view rest;
    vnode* link; // whose text it is; null: the caller's
    vnode_ref kept{};
};

// A stack of them in memory that is not touched before it is used.
class piece_stack {
  public:
    piece_stack() = default;
    piece_stack(const piece_stack&) = delete;
    ~piece_stack() {
        while (!empty())
            pop();
    }
    bool empty() const noexcept { return count_ == 0; }
    piece& top() noexcept { return at(count_ - 1); }
    void push(std::string_view rest, vnode* link, vnode_ref kept) noexcept {
        new (&at(count_++)) piece{rest, link, std::move(kept)};
    }
    void pop() noexcept { at(--count_).~piece(); }
    std::span<piece> all() noexcept { return {&at(0), count_}; }
    std::span<const piece> below_top() noexcept { return {&at(0), count_ - 1}; }

  private:
    piece& at(unsigned i) noexcept { return reinterpret_cast<piece*>(room_)[i]; }

    unsigned count_ = 0;
    alignas(piece) std::byte room_[(most_links_followed + 1) * sizeof(piece)];
};

// What a walk wants at its end.
enum class goal : k::u8 { look, node, spot };

class walker {
  public:
    walker(const view& v, goal g, last_link last) noexcept : view_(v), goal_(g), last_(last) { enter(); }

    // To the node at the end; goal::node: it is in `arrived`, held. Or to the spot, which is in `where`.
    k::status walk(std::string_view path, found* arrived, spot* where) noexcept;
    // goal::look: what walk() came to, until this goes.
    const vnode& seen() const noexcept { return *node_; }

  private:
    void enter() noexcept { section_.emplace(); }
    k::status keep_all() noexcept;
    k::status ask_again() noexcept;
    void leave() noexcept { section_.reset(); }

    void begin_at(std::string_view path) noexcept {
        const place& from = path.starts_with('/') ? view_.root : view_.start;
        in_ = from.in.get();
        at_ = &from.dir();
    }
    bool next(component& out) noexcept;
    bool at_root() const noexcept { return in_ == view_.root.in.get() && at_ == &view_.root.dir(); }
    void go_up() noexcept;
    void cross_mounts() noexcept;
    k::status find_here(const component& c) noexcept;
    k::status follow() noexcept;
    k::status arrive(found* to) noexcept;
    k::status make_spot(const component& c, spot::special what, spot& to) noexcept;
    bool ends_here(const component& c) const noexcept { return goal_ == goal::spot && c.last; }

    const view& view_;
    const goal goal_;
    const last_link last_;
    std::optional<lwkt::critical> section_;
    mount* in_ = nullptr;
    directory* at_ = nullptr;
    // What find_here() found: null: there is no such file.
    vnode* node_ = nullptr;
    name* name_ = nullptr;
    // Held where the section had to be left.
    mount_use in_kept_;
    vnode_ref at_kept_;
    found asked_;
    unsigned links_ = 0;
    piece_stack pieces_;
};

bool is_only_slashes(std::string_view text) noexcept {
    for (char c : text)
        if (c != '/') return false;
    return true;
}

// The next component; false: there is none.
bool walker::next(component& out) noexcept {
    for (; !pieces_.empty(); pieces_.pop()) {
        std::string_view& rest = pieces_.top().rest;
        const char *from = rest.data(), *const end = from + rest.size();
        while (from != end && *from == '/')
            ++from;
        if (from == end) continue;
        const char* to = from;
        name_hash hash;
        for (; to != end && *to != '/'; ++to)
            hash.add(*to);
        out.name = {{from, static_cast<std::size_t>(to - from)}, hash};
        rest = {to, static_cast<std::size_t>(end - to)};
        out.wants_directory = to != end;
        out.last = is_only_slashes(rest);
        for (const piece& p : pieces_.below_top()) {
            if (p.rest.empty()) continue;
            out.wants_directory = true;
            out.last = out.last && is_only_slashes(p.rest);
        }
        return true;
    }
    return false;
}

// Holds everything that this stands on, to leave the section with it. ESTALE: it is just going away.
k::status walker::keep_all() noexcept {
    in_kept_ = mount_use(*in_);
    at_kept_ = vnode_ref::to_living(*at_);
    if (!at_kept_) return k::error::stale;
    for (piece& p : pieces_.all()) {
        if (!p.link || p.kept) continue;
        p.kept = vnode_ref::to_living(*p.link);
        if (!p.kept) return k::error::stale;
    }
    return {};
}

// What a program said of the directory may be wrong by now, and it is by that that permissions are checked.
k::status walker::ask_again() noexcept {
    if (at_->fs.rule(view_.who) != access_rule::usual) return {};
    TRY(keep_all());
    leave();
    const k::status asked = in_->fs().ask_again(*at_);
    enter();
    return asked;
}

void walker::go_up() noexcept {
    while (!at_root()) {
        if (at_ != &in_->root()) {
            at_ = &at_->parent();
            return;
        }
        const mount_point* const where = in_->point();
        if (!where) return;
        at_ = where->covered;
        in_ = where->in;
    }
}

void walker::cross_mounts() noexcept {
    while (at_->mounted_on.load(std::memory_order_acquire)) {
        mount* m = mounted_at(*in_, *at_);
        if (!m) return;
        in_ = m;
        at_ = &m->root();
    }
}

k::status walker::find_here(const component& c) noexcept {
    if (c.name.text.size() > longest_name) return k::error::nametoolong;
    name_ = at_->find(c.name);
    node_ = name_ ? name_->node() : nullptr;
    if (name_ ? !name_->is_old() : at_->is_complete()) [[likely]]
        return {};
    node_ = nullptr; // an old one may go
    name_ = nullptr;
    TRY(keep_all());
    leave();
    auto answer = look_up(*in_, *at_, c.name.text);
    enter();
    if (!answer) return answer.error() == k::error::noent ? k::status() : k::status(answer.error());
    asked_ = *std::move(answer);
    node_ = asked_.node.get();
    name_ = asked_.called.get();
    return {};
}

// node_ is a link: its text comes next.
k::status walker::follow() noexcept {
    if (links_++ == most_links_followed) return k::error::loop;
    if (node_->is_magic()) {
        vnode_ref link = vnode_ref::to_living(*node_);
        if (!link) return k::error::stale;
        TRY(keep_all());
        leave();
        found to;
        const k::status jumped = link->jump(to);
        enter();
        if (!jumped) return jumped.error();
        if (!to.node->is(node_type::directory)) {
            asked_ = std::move(to);
            node_ = asked_.node.get();
            name_ = asked_.called.get();
            in_ = asked_.in.get();
            return {};
        }
        in_kept_ = std::move(to.in);
        at_kept_ = std::move(to.node);
        in_ = in_kept_.get();
        at_ = &at_kept_->as_directory();
        node_ = nullptr;
        return {};
    }
    const std::string_view text = node_->link_text();
    if (text.empty()) return k::error::noent;
    if (text.starts_with('/')) begin_at(text);
    // A link at the end of a piece takes its place.
    while (!pieces_.empty() && pieces_.top().rest.empty())
        pieces_.pop();
    pieces_.push(text, node_, asked_.node.get() == node_ ? asked_.node.share() : vnode_ref());
    node_ = nullptr;
    return {};
}

// The end: node_, or where this stands.
k::status walker::arrive(found* to) noexcept {
    if (!node_) {
        node_ = at_;
        name_ = at_ == &in_->root() ? nullptr : at_->own_name();
    }
    if (goal_ == goal::look) return {};
    if (in_) to->in = mount_use(*in_); // a file without a name is in none
    to->node = vnode_ref::to_living(*node_);
    if (!to->node) return k::error::stale;
    to->called = name_ ? name_ref::to_living(*name_) : name_ref();
    return !name_ || to->called ? k::status() : k::error::stale;
}

k::status walker::make_spot(const component& c, spot::special what, spot& to) noexcept {
    to.in = mount_use(*in_);
    to.parent = vnode_ref::to_living(*at_);
    if (!to.parent) return k::error::stale;
    to.what = what;
    to.wants_directory = c.wants_directory;
    to.length = 0;
    if (what != spot::special::none) return {};
    if (c.name.text.size() > longest_name) return k::error::nametoolong;
    to.length = static_cast<k::u8>(c.name.text.copy(to.text, sizeof(to.text)));
    return {};
}

k::status walker::walk(std::string_view path, found* arrived, spot* where) noexcept {
    if (path.empty()) return k::error::noent;
    begin_at(path);
    pieces_.push(path, nullptr, {});
    component c;
    while (next(c)) {
        if (at_->is_told_old()) [[unlikely]]
            TRY(ask_again());
        TRY(check(*at_, view_.who, may_execute));
        if (c.is_dots()) [[unlikely]] {
            const bool up = c.is("..");
            if (up || c.is(".")) {
                if (ends_here(c)) return make_spot(c, up ? spot::special::dot_dot : spot::special::dot, *where);
                if (up) {
                    go_up();
                    cross_mounts();
                }
                continue;
            }
        }
        if (ends_here(c) && last_ == last_link::keep) return make_spot(c, spot::special::none, *where);
        TRY(find_here(c));
        if (!node_) {
            if (ends_here(c)) return make_spot(c, spot::special::none, *where);
            return k::error::noent;
        }
        // The place of what a magic link leads to is not known; its own is.
        if (ends_here(c) && node_->is_magic()) return make_spot(c, spot::special::none, *where);
        if (node_->is(node_type::link) && (!c.last || c.wants_directory || last_ == last_link::follow)) {
            vnode* const link = node_;
            const k::status followed = follow();
            // What has no node can still be opened, by who knows what the link is.
            if (!followed && followed.error() == k::error::opnotsupp) {
                if (!c.last || c.wants_directory) return k::error::notdir;
                node_ = link;
                return arrive(arrived);
            }
            if (!followed) return followed;
            if (!node_) continue;
            if (!c.last || c.wants_directory) return k::error::notdir;
            return arrive(arrived);
        }
        if (ends_here(c)) return make_spot(c, spot::special::none, *where);
        if (!node_->is(node_type::directory)) {
            if (!c.last || c.wants_directory) return k::error::notdir;
            return arrive(arrived);
        }
        at_ = &node_->as_directory();
        if (asked_.node.get() == node_) at_kept_ = asked_.node.share();
        node_ = nullptr;
        cross_mounts();
    }
    if (goal_ == goal::spot) return make_spot(c, spot::special::root, *where);
    node_ = nullptr;
    return arrive(arrived);
}

// Calls attempt() -> k::result<...> until it is not ESTALE. What somebody found may be going away before he can hold
// it; then its name leads to something else by now, or is gone, and that is what he must be told.
template <class Attempt> auto until_steady(Attempt attempt) noexcept {
    for (;;) {
        auto outcome = attempt();
        if (outcome || outcome.error() != k::error::stale) [[likely]]
            return outcome;
    }
}

} // namespace

k::result<found> find(const view& v, std::string_view path, last_link last) noexcept {
    return until_steady([&]() -> k::result<found> {
        found out;
        walker w(v, goal::node, last);
        TRY(w.walk(path, &out, nullptr));
        return out;
    });
}

k::status look_at(const view& v, std::string_view path, last_link last, void (*see)(const vnode& n, void* argument),
                  void* argument) noexcept {
    return until_steady([&]() -> k::status {
        walker w(v, goal::look, last);
        TRY(w.walk(path, nullptr, nullptr));
        see(w.seen(), argument);
        return {};
    });
}

k::result<spot> find_spot(const view& v, std::string_view path, last_link last) noexcept {
    return until_steady([&]() -> k::result<spot> {
        spot out;
        walker w(v, goal::spot, last);
        TRY(w.walk(path, nullptr, &out));
        return out;
    });
}

namespace {

// A name that its directory does not keep. A directory that was made for this look-up has it as its own, so that ".."
// and paths work below; that name holds no node, or the two would hold each other for ever.
k::result<name_ref> uncached_name(directory& at, const name_text& text, vnode& node) noexcept {
    if (!node.is(node_type::directory)) return name::create(at, text, vnode_ref::to(node));
    name_ref own = TRY(name::create(at, text, {}));
    if (!node.as_directory().own_name()) node.as_directory().set_own_name(own.share());
    return own;
}

// What the directory itself says of a name; empty: it does not know. ESTALE: what has the name is just going away.
k::result<found> look_in_table(mount& in, directory& at, const name_text& wanted) noexcept {
    lwkt::critical section;
    name* n = at.find(wanted);
    if (n ? n->is_old() : !at.is_complete() && !at.is_dead()) return found{};
    if (!n || !n->node()) return k::error::noent;
    found out{mount_use(in), vnode_ref::to_living(*n->node()), name_ref::to_living(*n)};
    if (!out.node || !out.called) return k::error::stale;
    return out;
}

k::result<found> ask_for(mount& in, directory& at, std::string_view text) noexcept {
    const name_text wanted(text);
    bool cache = true;
    auto node = in.fs().look_up(at, text, cache);
    if (!node && node.error() != k::error::noent) return node.error();
    found out{mount_use(in), node ? node->share() : vnode_ref(), name_ref()};
    if (cache) {
        vop_remember keep(at, TRY(name::create(at, wanted, out.node.share())));
        if (in.fs().call(keep)) out.called = std::move(keep.fresh);
    } else if (node) {
        out.called = TRY(uncached_name(at, wanted, *out.node));
    }
    if (!out.node) return k::error::noent;
    return out;
}

k::result<found> look_up_once(mount& in, directory& at, std::string_view text) noexcept {
    const name_text wanted(text);
    if (found known = TRY(look_in_table(in, at, wanted))) return known;
    const names_hold asking(at);
    if (!in.fs().is_in_program() && !in.fs().is_on_disk()) return ask_for(in, at, text);
    // What is found and what is remembered of it must be one: no name changes in between.
    std::optional<lwkt::sleep_hold> changing;
    if (in.fs().is_on_disk()) changing.emplace(in.fs().changing);
    if (found known = TRY(look_in_table(in, at, wanted))) return known; // another has asked meanwhile
    return in.fs().is_in_program() ? ask_program(in, at, wanted) : ask_for(in, at, text);
}

} // namespace

k::result<found> look_up(mount& in, directory& at, std::string_view text) noexcept {
    return until_steady([&] { return look_up_once(in, at, text); });
}

k::result<std::string_view> path_of(const place& root, mount& in, vnode& node, const name* called,
                                    std::span<char> to) noexcept {
    std::size_t start = to.size();
    const auto put = [&](std::string_view text) {
        if (text.size() > start) return false;
        start -= text.size();
        text.copy(to.data() + start, text.size());
        return true;
    };
    lwkt::critical section;
    mount* m = &in;
    directory* at;
    if (node.is(node_type::directory)) {
        at = &node.as_directory();
        if (at->is_dead() && !put(" (deleted)")) return k::error::range;
    } else {
        if (!called) return k::error::noent;
        if (called->removed() && !put(" (deleted)")) return k::error::range;
        if (!put(called->text()) || !put("/")) return k::error::range;
        at = &called->in();
    }
    while (m != root.in.get() || at != &root.dir()) {
        if (at == &m->root()) {
            const mount_point* const where = m->point();
            if (!where) {
                if (!put("(unreachable)")) return k::error::range;
                break;
            }
            at = where->covered;
            m = where->in;
            continue;
        }
        const name* own = at->own_name();
        if (!own) return k::error::noent;
        if (!put(own->text()) || !put("/")) return k::error::range;
        at = &own->in();
    }
    if (start == to.size() && !put("/")) return k::error::range;
    return std::string_view(to.data() + start, to.size() - start);
}

k::result<std::string_view> path_of(const place& root, const found& what, std::span<char> to) noexcept {
    if (what.in) return path_of(root, *what.in, *what.node, what.called.get(), to);
    if (!what.called) return k::error::noent;
    k::buffer_sink text(to);
    k::format_to(text, "/{}{}", what.called->text(), what.called->removed() ? " (deleted)" : "");
    return text.view();
}

} // namespace vfs
