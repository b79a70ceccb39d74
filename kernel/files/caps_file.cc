#include "kernel/files/caps_file.h"

#include "kernel/mem/slab.h"

namespace files {

namespace {

file* stand_in; // immutable after boot

// Whoever changes something holds the service or the client, and its watchers' place with it.
class watched_service final : public caps::service {
  public:
    using caps::service::service;
    pollable watch;

  private:
    void changed(caps::change what) noexcept override {
        watch.notify(what == caps::change::closed ? poll_hangup : poll_can_read);
    }
};

class watched_client final : public caps::client {
  public:
    using caps::client::client;
    ~watched_client() override { (void)caps::message_ref(spare.load()); }
    pollable watch;
    std::atomic<caps::message*> spare = nullptr; // of the last call, for the next

  private:
    void changed(caps::change what) noexcept override {
        switch (what) {
        case caps::change::closed: return watch.notify(poll_hangup | poll_error | poll_can_read);
        case caps::change::room: return watch.notify(poll_can_write);
        default: return watch.notify(poll_can_read);
        }
    }
};

class caps_file : public file {
  protected:
    caps_file(file_kind kind, k::u32 flags, bool inherited) noexcept
        : file(flags | open_read_write, kind), inherited_(inherited) {}
    file& in_child() noexcept final { return inherited_ ? *this : *stand_in; }
    k::status describe(stat_record& out) noexcept final {
        out = simple_stat(0600, inode_);
        return {};
    }

  private:
    const bool inherited_;
    const k::u64 inode_ = fresh_inode();
};

class service_file final : public caps_file {
  public:
    service_file(caps::service_ref s, k::u32 flags, bool inherited) noexcept
        : caps_file(file_kind::caps_service, flags, inherited), service_(std::move(s)) {}
    ~service_file() override { service_->close(); }
    k::u32 ready() noexcept override { return service_->has_arrivals() ? poll_can_read : 0; }
    pollable* watched() noexcept override { return &static_cast<watched_service&>(*service_).watch; }
    caps::service& of() noexcept { return *service_; }

  private:
    const caps::service_ref service_; // a watched_service
};

class client_file final : public caps_file {
  public:
    client_file(caps::client_ref c, k::u32 flags, bool inherited) noexcept
        : caps_file(file_kind::caps_client, flags, inherited), client_(std::move(c)) {}
    ~client_file() override { client_->close(); }
    k::u32 ready() noexcept override {
        const caps::client::readiness now = client_->ready();
        return (now.reply || now.closed ? poll_can_read : 0) | (now.room && !now.closed ? poll_can_write : 0) |
               (now.closed ? poll_hangup | poll_error : 0);
    }
    pollable* watched() noexcept override { return &static_cast<watched_client&>(*client_).watch; }
    caps::client& of() noexcept { return *client_; }

  private:
    const caps::client_ref client_; // a watched_client
};

// In a child, for what is its parent's.
class left_file final : public file {
  public:
    left_file() noexcept : file(open_read_write, file_kind::caps_left) {}
    k::u32 ready() noexcept override { return poll_error | poll_hangup; }
    k::status describe(stat_record& out) noexcept override {
        out = simple_stat(0600, inode_);
        return {};
    }

  private:
    const k::u64 inode_ = fresh_inode();
};

} // namespace

k::status start_caps() noexcept {
    caps::initialise();
    stand_in = mem::make<left_file>();
    return stand_in ? k::status() : k::error::nomem;
}

k::result<file_ref> make_caps_service(const caps::terms& t, k::u32 flags, bool inherited) noexcept {
    caps::service_ref made(mem::make<watched_service>(t));
    if (!made) return k::error::nomem;
    auto* opened = mem::make<service_file>(made.share(), flags, inherited);
    if (!opened) return k::error::nomem;
    file_ref held(opened);
    TRY(made->open());
    return held;
}

k::result<file_ref> make_caps_client(const caps::wish& w, const caps::waiting& how, k::u32 flags,
                                     bool inherited) noexcept {
    caps::client_ref made(mem::make<watched_client>(TRY(caps::client::find(w, how))));
    if (!made) return k::error::nomem;
    auto* opened = mem::make<client_file>(made.share(), flags, inherited);
    if (!opened) return k::error::nomem;
    file_ref held(opened);
    TRY(made->open(w, how));
    return held;
}

k::result<caps::service*> caps_service_of(file& f) noexcept {
    if (f.kind() == file_kind::caps_service) [[likely]]
        return &static_cast<service_file&>(f).of();
    return f.kind() == file_kind::caps_left ? k::error::notconn : k::error::inval;
}

k::result<caps::client*> caps_client_of(file& f) noexcept {
    if (f.kind() == file_kind::caps_client) [[likely]]
        return &static_cast<client_file&>(f).of();
    return f.kind() == file_kind::caps_left ? k::error::notconn : k::error::inval;
}

// Clients that processes have are of this class.
k::result<caps::message_ref> message_for(caps::client& c) noexcept {
    if (caps::message* spare = static_cast<watched_client&>(c).spare.exchange(nullptr)) [[likely]]
        return caps::message_ref(spare);
    return caps::message::create();
}

void give_back_message(caps::client& c, caps::message_ref m) noexcept {
    if (!m || m->holders() != 1) return; // a server still looks at it
    m->clear();
    (void)caps::message_ref(static_cast<watched_client&>(c).spare.exchange(m.release()));
}

} // namespace files
