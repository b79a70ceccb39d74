// vm::entry: one mapping of a space: a range of addresses that shows a range of an object.
//
// A shared entry shows `what` and nothing else. A private one shows its own changes, which are in `what` (none before
// the first), over `under` (a file, or nothing: zeroes). The space's token guards all of it. Addresses and offsets of
// an entry that stands in an object's list of mappings are also read by others: change() them under that list's lock.
#pragma once

#include "arch/machine.h"
#include "kernel/lib/ref.h"
#include "kernel/lwkt/thread.h"
#include "sys/xio/user_memory.h"

#include <boost/intrusive/set.hpp>

namespace vm {

class object;
class space;
using xio::user_address;

enum class sharing : k::u8 { private_copy, shared };

// What becomes of a range in a child.
enum class inheritance : k::u8 { as_is, none, zeroed };

constexpr k::u64 pages_in(k::u64 bytes) {
    return bytes >> arch::page_shift;
}

// What sharing pages with a file has come to for a mapping: a page that is written to soon after was copied all the
// same, and by a fault.
class sharing_habit {
  public:
    // Before so many pages are shared. False: copy them this time.
    bool is_worth(k::u64 pages) noexcept {
        if (copy_next_) {
            copy_next_--;
            return false;
        }
        if (broken_ > shared_ / 2) {
            *this = {};
            copy_next_ = patience;
            return false;
        }
        shared_ = pages;
        broken_ = 0;
        return true;
    }
    void note_broken() noexcept {
        if (broken_ < shared_) broken_++;
    }

  private:
    static constexpr k::u32 patience = 31; // so many are copied before it is tried again

    k::u64 shared_ = 0, broken_ = 0; // the last time, and of these since
    k::u32 copy_next_ = 0;
};

// What a mapping was made of, for whoever asks: the entries that show it keep it. Who lets it go last may hold a
// space's token, so its end must not need one.
class backing {
  public:
    virtual void keep() noexcept = 0;
    virtual void let_go() noexcept = 0;
    // What was stored into it is where it lasts, or an error says what was not (msync). Blocks; no token is held.
    virtual k::status keep_bytes() noexcept { return {}; }

  protected:
    ~backing() = default;
};

class backing_ref {
  public:
    backing_ref() = default;
    explicit backing_ref(backing* what) noexcept : what_(what) {
        if (what_) what_->keep();
    }
    backing_ref(backing_ref&& other) noexcept : what_(std::exchange(other.what_, nullptr)) {}
    backing_ref& operator=(backing_ref&& other) noexcept {
        std::swap(what_, other.what_);
        return *this;
    }
    ~backing_ref() {
        if (what_) what_->let_go();
    }
    backing_ref share() const noexcept { return backing_ref(what_); }
    backing* get() const noexcept { return what_; }

  private:
    backing* what_ = nullptr;
};

struct entry {
    boost::intrusive::set_member_hook<boost::intrusive::link_mode<boost::intrusive::normal_link>> by_address;
    lwkt::list_hook mapping_link; // in the list of the object that shown() gives

    space* in = nullptr;
    user_address base = 0, end = 0;
    k::u64 offset = 0;       // pages: the index in `what` that stands at base
    k::u64 under_offset = 0; // the same for `under`
    user_address lowest = 0; // of a stack: how far down it may grow
    k::ref<object> what;
    k::ref<object> under;
    backing_ref of;        // null: of nothing that has a name
    k::u8 access = 0;      // user_access bits
    k::u8 most_access = 0; // what protect() may give
    sharing how = sharing::private_copy;
    inheritance inherited = inheritance::as_is;
    bool grows_down = false;
    bool locked = false;
    bool shows_zeroes = false; // the shared page of zeroes may be mapped somewhere in it
    sharing_habit habit;

    bool is_shared() const { return how == sharing::shared; }
    k::u64 pages() const { return pages_in(end - base); }
    k::u64 index_of(user_address at) const { return offset + pages_in(at - base); }
    k::u64 under_index_of(user_address at) const { return under_offset + pages_in(at - base); }
    // The object whose other holders must find this mapping; null for fresh memory.
    object* shown() const { return is_shared() ? what.get() : under.get(); }
    // Private memory that can be written: what the space has promised itself.
    bool is_data() const { return !is_shared() && (access & arch::user_write); }
};

struct entry_base {
    using type = user_address;
    type operator()(const entry& e) const { return e.base; }
};
using entry_map = boost::intrusive::set<
    entry,
    boost::intrusive::member_hook<
        entry, boost::intrusive::set_member_hook<boost::intrusive::link_mode<boost::intrusive::normal_link>>,
        &entry::by_address>,
    boost::intrusive::key_of_value<entry_base>>;
using mapping_list =
    boost::intrusive::list<entry, boost::intrusive::member_hook<entry, lwkt::list_hook, &entry::mapping_link>,
                           boost::intrusive::constant_time_size<false>>;

} // namespace vm
