// Names: the name cache, which for memory file systems is also the directory itself.
//
// A directory keeps its names in a table that is read without a lock, in critical sections, and changed on its home
// CPU. A name never changes: renaming makes a new one. A name without a node says that there is no such file (a
// negative entry); directories that are `complete` need none, because there what has no name does not exist.
#pragma once

#include "sys/vfs/vnode.h"

#include <boost/intrusive/set.hpp>

namespace vfs {

constexpr std::size_t longest_name = 255;

// The hash of names, a byte at a time (FNV-1a): a path is cut into names and they are hashed in one pass. Names chosen
// to collide cost time, in their own directory.
class name_hash {
  public:
    constexpr void add(char c) noexcept { value_ = (value_ ^ static_cast<unsigned char>(c)) * 16777619u; }
    constexpr k::u32 value() const noexcept { return value_; }

  private:
    k::u32 value_ = 2166136261u;
};

// A name as it is looked for, with its hash.
struct name_text {
    std::string_view text;
    k::u32 hash;

    constexpr name_text(std::string_view t, name_hash h) noexcept : text(t), hash(h.value()) {}
    explicit constexpr name_text(std::string_view t) noexcept : text(t), hash(hash_of(t)) {}

  private:
    static constexpr k::u32 hash_of(std::string_view text) noexcept {
        name_hash h;
        for (char c : text)
            h.add(c);
        return h.value();
    }
};

class name final : public k::counted<name>, lwkt::retirable {
  public:
    // ENOMEM. The text is 1 to longest_name long. A null node makes a negative entry.
    static k::result<k::ref<name>> create(directory& in, const name_text& text, vnode_ref node) noexcept;
    // One that looks removed: how a file without a name is called.
    static k::result<k::ref<name>> create_removed(directory& in, const name_text& text) noexcept;
    void last_holder_left() noexcept;

    std::string_view text() const noexcept { return {reinterpret_cast<const char*>(this + 1), length_}; }
    k::u32 hash() const noexcept { return hash_; }
    vnode* node() const noexcept { return node_; } // null: there is no such file
    directory& in() const noexcept { return *in_; }
    bool removed() const noexcept { return removed_.load(std::memory_order_acquire); }

    // Of a file system in a program: until when (ktime::now()) it may be believed. Of one that is old the program is
    // asked again (program_names.h).
    std::atomic<k::u64> valid_until = ~k::u64{0};
    bool is_old() const noexcept {
        const k::u64 until = valid_until.load(std::memory_order_relaxed);
        return ~until && until <= ktime::now();
    }

    name(directory& in, const name_text& text, vnode_ref node) noexcept; // for create()

  private:
    friend class directory;
    friend class vnode;
    friend struct name_place;
    // Nobody holds it any more: it goes, and gives its hold on the directory to the caller.
    vnode_ref go() noexcept;

    directory* const in_; // held
    vnode* const node_;   // held
    const k::u32 hash_;
    const k::u8 length_;
    std::atomic<bool> removed_ = false;
    k::u64 place_ = 0; // in a listing; grows. Of the directory's home CPU
    boost::intrusive::set_member_hook<boost::intrusive::link_mode<boost::intrusive::normal_link>> by_place_;
};

struct name_place {
    using type = k::u64;
    type operator()(const name& n) const { return n.place_; }
};

using name_ref = k::ref<name>;

class directory : public vnode {
  public:
    // `complete`: what has no name here does not exist.
    directory(file_system& fs, k::u64 inode, const node_attributes& a, bool complete) noexcept
        : vnode(fs, inode, a), complete_(complete) {}
    ~directory() override;

    // --- Any CPU, in a critical section; what it gives is valid in that.
    name* find(const name_text& text) const noexcept;
    // The name under which it stands, or stood when it was removed; null: of a root.
    name* own_name() const noexcept { return own_name_.load(std::memory_order_acquire); }
    // The directory that it is in; itself if it has no name.
    directory& parent() noexcept {
        name* own = own_name();
        return own ? own->in() : *this;
    }
    bool is_complete() const noexcept { return complete_; }
    // Was it removed? Nothing can be made in it then.
    bool is_dead() const noexcept { return dead_.load(std::memory_order_acquire); }
    // Is something mounted on it, in some mount point?
    std::atomic<k::u32> mounted_on = 0;
    // Of one whose names are kept elsewhere: held by who asks for a name or changes one there, until it is so here.
    lwkt::sleep_lock asking;

    // --- On its home CPU, without sleeping.
    // Puts a name in; the caller has seen to it that the text is not there, or takes the old one out afterwards. Takes
    // the hold over. ENOMEM.
    k::status add(name_ref& fresh) noexcept;
    // So that so many can be added. ENOMEM.
    k::status make_room_for(k::u32 names) noexcept;
    // Takes a name out; the caller gets the directory's hold on it.
    name_ref take_out(name& which) noexcept;
    bool is_empty() const noexcept { return names_.empty(); }
    // Is there none with a node? In one that is not complete: that is known.
    bool has_no_nodes() const noexcept;
    k::u64 count() const noexcept { return table_ ? live_ : 0; }
    // Are there as many without a node as one directory may have?
    bool has_many_negative() const noexcept { return negative_ >= most_negative; }
    // The first name at `place` or behind; null: none. Negative ones too.
    name* at_or_after(k::u64 place) noexcept;
    k::u64 place_of(const name& n) const noexcept { return n.place_; }
    void set_own_name(name_ref n) noexcept; // holds it
    // It was removed. `last`: where it stood; a name like its last one, but without a node.
    void die(name_ref last) noexcept;
    // Nobody sees it any more.
    name_ref take_own_name() noexcept;

    static constexpr k::u16 most_negative = 512;
    // The places in listings of "." and ".."; names begin behind.
    static constexpr k::u64 first_place = 3;

  private:
    friend class name;
    // Open addressing. Slots are written once a table, but for removal, which leaves a mark.
    struct table : lwkt::retirable {
        k::u32 mask;
        std::atomic<name*> slots[];
    };
    static name* removed_mark() noexcept { return reinterpret_cast<name*>(1); }
    static table* make_table(k::u32 slots) noexcept;
    static void put(table& into, name& n) noexcept;

    std::atomic<table*> table_ = nullptr;
    std::atomic<name*> own_name_ = nullptr; // held
    std::atomic<bool> dead_ = false;
    const bool complete_;
    // Of the home CPU.
    k::u16 negative_ = 0; // names without a node, at most most_negative
    k::u32 live_ = 0;
    k::u32 used_ = 0; // slots that are not empty: names and marks
    k::u64 next_place_ = first_place;
    boost::intrusive::set<
        name,
        boost::intrusive::member_hook<
            name, boost::intrusive::set_member_hook<boost::intrusive::link_mode<boost::intrusive::normal_link>>,
            &name::by_place_>,
        boost::intrusive::key_of_value<name_place>, boost::intrusive::constant_time_size<false>>
        names_;
};

// Is `at` the directory `above`, or somewhere below it? Only as long as nobody renames directories.
bool is_within(directory& at, const directory& above) noexcept;

directory& vnode::as_directory() noexcept {
    return static_cast<directory&>(*this);
}

} // namespace vfs
