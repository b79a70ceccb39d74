// The two ends of CAPS (sys/caps/caps.h) as open files: a service that a process offers, and a connection of a client.
//
// The descriptor is the service, or the client: the last close ends it. Unless it was made to be inherited, an end
// belongs to the process that made it: in a child of fork() a file stands in its place with which nothing can be done
// (ENOTCONN), so that a child cannot serve or ask in its parent's name by accident, nor keep a service alive that
// nobody serves. An exec keeps it, or not, like any descriptor; a socket may pass it on.
#pragma once

#include "kernel/files/file.h"
#include "sys/caps/caps.h"

namespace files {

// Boot, once. ENOMEM.
k::status start_caps() noexcept;

// `flags`: open_nonblock. As caps::service::create() and caps::client::connect().
k::result<file_ref> make_caps_service(const caps::terms& t, k::u32 flags, bool inherited) noexcept;
k::result<file_ref> make_caps_client(const caps::wish& w, const caps::waiting& how, k::u32 flags,
                                     bool inherited) noexcept;

// ENOTCONN: it is the parent's; EINVAL: another file.
k::result<caps::service*> caps_service_of(file& f) noexcept;
k::result<caps::client*> caps_client_of(file& f) noexcept;

// A message for a call of this client, idle and empty: one that was given back, or a new one. ENOMEM.
k::result<caps::message_ref> message_for(caps::client& c) noexcept;
void give_back_message(caps::client& c, caps::message_ref m) noexcept;

} // namespace files
