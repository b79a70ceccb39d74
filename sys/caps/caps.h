// CAPS: messages that carry xio between threads, of the kernel and of processes alike. Read this header first.
//
// Somebody offers a *service* under a name (service.h); others become its *clients* (client.h), if the service's terms
// allow it, and put *messages* (message.h). The service gets each message once and replies to it exactly once, by an id
// that only this service knows and that is never used again. A message has up to 256 inline bytes, which are copied,
// and up to 8 items of xio, which are not: sources to be read, and grants of room, which the reply may fill. Who sent
// it is written in by the kernel.
//
// Whatever dies, each message ends in a defined way and lets go of its pages:
//   - the service closes: requests that it has not answered come back with ECONNRESET, later ones are refused
//   (ENOTCONN);
//   - the client closes: its requests that nobody took go, those that were taken are answered into nothing (the server
//     hears ECANCELED), and so do replies that it has not fetched;
//   - a request nobody takes waits, up to the service's limit of them; then senders wait or hear EAGAIN.
//
// Who owns what: one spinlock a service guards its queue, its table of taken messages and what its clients have on the
// way; it is held for some dozens of instructions. A message's contents belong to whoever has the message: the sender
// before it is put and after the reply, the server from get to reply. A put wakes a server that sleeps, with one
// message to its CPU if that is another one, and nothing at all if the server is busy; a call that will sleep anyway
// hands its CPU over to the server, and the server that replies and waits hands it back.
//
// What processes see of this is in kernel/files/caps_file.h and docs/caps.md.
#pragma once

#include "sys/caps/client.h"
#include "sys/caps/message.h"
#include "sys/caps/service.h"
