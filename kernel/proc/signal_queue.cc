#include "kernel/proc/signal_queue.h"

namespace proc {

void signal_queue::push(queued_signal& entry) noexcept {
    const int number = entry.info.number;
    kassert(!entry.in);
    entry.in = this;
    queued_signal*& last = last_[number - 1];
    if (entries_.has(number)) {
        entry.previous = last;
        entry.next = last->next;
        last->next->previous = &entry;
        last->next = &entry;
    } else {
        entry.next = entry.previous = &entry;
    }
    last = &entry;
    entries_.add(number);
    pending_.add(number);
}

void signal_queue::push_bare(int number) noexcept {
    pending_.add(number);
}

queued_signal* signal_queue::pop(int number) noexcept {
    kassert(pending_.has(number));
    if (!entries_.has(number)) {
        pending_.remove(number);
        return nullptr;
    }
    queued_signal* first = last_[number - 1]->next;
    remove(*first);
    return first;
}

void signal_queue::remove(queued_signal& entry) noexcept {
    const int number = entry.info.number;
    kassert(entry.in == this && entries_.has(number));
    entry.in = nullptr;
    if (entry.next == &entry) {
        entries_.remove(number);
        pending_.remove(number);
        return;
    }
    entry.previous->next = entry.next;
    entry.next->previous = entry.previous;
    if (last_[number - 1] == &entry) last_[number - 1] = entry.previous;
}

} // namespace proc
