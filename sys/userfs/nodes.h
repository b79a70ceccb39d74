// The nodes of a file system in a program, by the numbers that its server gives them.
#pragma once

#include "kernel/lwkt/spinlock.h"
#include "sys/userfs/server.h"
#include "sys/vfs/name.h"

namespace vfs::userfs {

constexpr k::u64 most_nanoseconds = ~k::u64{0} >> 1;

class file_node;

// The pages of a file, which come from the server. Lives as long as they do, which may be longer than the file system.
class file_pages final : public vm::file_pager {
  public:
    // Room for the pages of a file of so many bytes.
    static k::result<k::ref<vm::object>> make(server_ref from, k::u64 node, k::u64 bytes, file_pages*& pager) noexcept;

    k::result<vm::page_ref> page_in(k::u64 index) noexcept override;
    void object_gone() noexcept override;
    k::status reserve(k::u64 first, k::u64 count) noexcept override;
    void charge(k::i64 pages) noexcept override;

    // Whose they are, while that one has a holder: from its beginning to vnode::going(). Its file system goes later.
    struct owner {
        file_system_ref fs; // none: nobody's
        vnode_ref node;
    };
    void set_node(file_node* node) noexcept { file_.store(node, std::memory_order_release); }
    owner node() noexcept;
    // How many are dirty, or about to be.
    std::atomic<k::u64> dirty = 0;
    // So many bytes has the server, and what lies in them is the pager's to bring.
    void set_bytes(k::u64 bytes) noexcept { bytes_.store(bytes, std::memory_order_relaxed); }

    file_pages(server_ref from, k::u64 node, k::u64 bytes) noexcept // for make()
        : server_(std::move(from)), node_(node), bytes_(bytes) {}

  private:
    const server_ref server_;
    const k::u64 node_;
    vm::object* object_ = nullptr; // whose pages they are
    std::atomic<file_node*> file_ = nullptr;
    std::atomic<k::u64> bytes_;
    // Where the next page is expected to be asked for, and how many come then: a guess that two readers may spoil.
    std::atomic<k::u64> next_ = 0, ahead_ = 0;
};

// A regular file.
class file_node final : public vnode, public dirty_file {
  public:
    file_node(file_system& fs, k::u64 inode, const node_attributes& a, server_ref from, k::ref<vm::object> pages,
              file_pages& pager) noexcept
        : vnode(fs, inode, a), server_(std::move(from)), pager_(pager) {
        set_pages(std::move(pages));
        pager_.set_node(this);
    }

    // 512-byte sectors that it has there; not known since it was written to: as many as it is long.
    k::u64 sectors() const noexcept {
        const k::u64 told = sectors_.load(std::memory_order_relaxed);
        return ~told && !dirty_pages() ? told : (size.load(std::memory_order_relaxed) + 511) / 512;
    }
    void note_sectors(k::u64 told) noexcept { sectors_.store(told, std::memory_order_relaxed); }

    k::status write_back() noexcept override;
    // The same by a thread that has others to see to: EBUSY if somebody works with the file, ETIMEDOUT if the program
    // does not take the question in time.
    k::status write_back_in_time() noexcept;
    k::u64 dirty_pages() const noexcept { return pager_.dirty.load(std::memory_order_acquire); }
    void bring_in(k::u64 offset, k::u64 bytes) noexcept override;
    void written_there(k::u64 offset, k::u64 bytes, bool certain) noexcept override;
    k::status store_there(k::u64 offset, k::u64 bytes) noexcept override;
    k::status resize_there(k::u64 bytes) noexcept override;
    k::status allocate_there(k::u32 mode, k::u64 offset, k::u64 bytes) noexcept override;
    // Its program says that it has so many bytes: what was known of others is forgotten. The writers' lock is held.
    k::status became(k::u64 bytes) noexcept;
    void forget_pages() noexcept;
    // Its program says that bytes are old: these pages are forgotten now, or all of them when whoever has the writers'
    // lock, and may wait for the program, lets go of it.
    void bytes_are_old(k::u64 first, k::u64 count) noexcept;
    void forget_old() noexcept override;
    // The program brings bytes by itself / has back what is cached of them (store.cc). Waits for nobody.
    k::status put(k::u64 offset, const xio::source& bytes) noexcept;
    k::result<xio::source> cached(k::u64 offset, k::u64 bytes) noexcept;

  private:
    void going() noexcept override { pager_.set_node(nullptr); }
    k::status write_dirty(bool patient) noexcept; // the writers' lock is held
    bool dirty_is_kept(k::error why) const noexcept;
    k::status write_stored(k::u64 first, k::u64 pages, k::u64 end, bool patient) noexcept;
    void forget_around(k::u64 first, k::u64 end) noexcept; // the writers' lock is held
    k::status store_piece(question& q) noexcept;
    k::status put_piece(k::u64 offset, const xio::source& bytes) noexcept;
    // Makes it so long here, where the program has it so. The writers' lock is held. ENOMEM.
    k::status reach(k::u64 end) noexcept;
    void grow(k::u64 before, k::u64 end) noexcept;
    k::status grown(k::u64 before, k::u64 end, k::status good) noexcept;
    // Is the page that has the file's end in it, and more, newer here?
    bool has_dirty_tail(k::u64 end) noexcept;
    // What the program has behind the old end, in the page that is newer here.
    k::status fill_tail(k::u64 bytes) noexcept;

    const server_ref server_;
    file_pages& pager_; // the object's
    std::atomic<k::u64> sectors_ = node_told::not_told;
};

// All that are known, each once: a file with two names is one node, and a directory has one.
class node_table {
  public:
    node_table(file_system& fs, server_ref from, k::u64 most) noexcept
        : fs_(fs), server_(std::move(from)), most_(most) {}
    ~node_table();

    // The node of these attributes, known already or made. Each call is one answer for the server to forget, whatever
    // comes of it. EIO: they make no sense, or another type than before, or a directory in a second place; ENFILE: too
    // many are known.
    // `text`: of a link that is made; else the server is asked for it.
    // `known`: a directory that has the name already.
    k::result<vnode_ref> node_for(const node_told& told, bool is_root, std::string_view text,
                                  const vnode* known = nullptr) noexcept;
    // Is that which is known of a number something else: a directory that was lost, whose number may come again, or a
    // link that leads elsewhere by now?
    bool is_another(vnode& n, const attributes& said) const noexcept;
    // The node of a number that is known and lives; empty: none.
    vnode_ref find(k::u64 number) noexcept;
    // The same of a node that was asked about again; of a file its writers' lock is held. EIO; ENOMEM.
    k::status note_again(vnode& n, const node_told& told) noexcept;
    // Will node_for() refuse whatever is not known yet?
    bool is_full() noexcept { return !has_room(1); }
    // Are there fewer than one in `parts` of as many as may be known?
    bool has_room(k::u64 parts) noexcept;
    // A node's last holder has left. Any context.
    void gone(const vnode& n) noexcept;
    // An answer told of a number whose node was not wanted, or is known.
    void owe(k::u64 number) noexcept;
    // Is there so much to tell the server that no more should be asked for?
    bool owes_much() const noexcept { return gone_count_.load(std::memory_order_relaxed) > 1024; }
    // Tells the server of some of those, as far as it listens. True: there are more, and it does.
    bool tell_gone() noexcept;
    // Lets go of pages while memory is short. Waits for no file's lock.
    void trim() noexcept;

  private:
    using hook = boost::intrusive::set_member_hook<boost::intrusive::link_mode<boost::intrusive::normal_link>>;
    struct record {
        hook by_number;
        k::u64 number = 0;
        k::u64 answers = 0;     // that told of it
        vnode* node = nullptr;  // null: it has gone, and others of the number have not
        k::u64 others = 0;      // whose place that one took, and which are still there
        record* next = nullptr; // of those that are gone
    };
    struct number_of {
        using type = k::u64;
        type operator()(const record& r) const noexcept { return r.number; }
    };
    using set = boost::intrusive::set<record, boost::intrusive::member_hook<record, hook, &record::by_number>,
                                      boost::intrusive::key_of_value<number_of>>;

    k::result<vnode_ref> known_or_made(const node_told& told, bool is_root, std::string_view text,
                                       const vnode* known) noexcept;
    k::result<vnode_ref> find(const attributes& said, const vnode* known, bool& there) noexcept;
    k::result<vnode_ref> make(const node_told& told, std::string_view text) noexcept;
    k::result<vnode_ref> make_link(const node_told& told, const node_attributes& a, std::string_view text) noexcept;
    vnode_ref next_file(k::u64& number) noexcept;
    void put_gone(record& r) noexcept REQUIRES(lock_) {
        r.next = gone_;
        gone_ = &r;
        gone_count_.fetch_add(1, std::memory_order_relaxed);
    }

    file_system& fs_;
    const server_ref server_;
    const k::u64 most_;
    lwkt::spinlock lock_;
    set known_ GUARDED_BY(lock_);
    k::u64 count_ GUARDED_BY(lock_) = 0;
    record* gone_ GUARDED_BY(lock_) = nullptr;
    std::atomic<k::u64> gone_count_ = 0; // changed under the lock
    std::atomic<k::u64> trim_next_ = 0;  // where the next trim() goes on
};

} // namespace vfs::userfs
