#include "kernel/lwkt/token.h"

#include "kernel/lwkt/contention.h"

namespace lwkt {

bool token::try_take(sharing how) noexcept {
    k::u32 word = word_.load(std::memory_order_relaxed);
    for (;;) {
        k::u32 wish;
        if (how == sharing::exclusive) {
            if (word & (exclusive_bit | count_mask)) return false;
            wish = (word & ~wanted_bit) | exclusive_bit;
        } else {
            if (word & (exclusive_bit | wanted_bit)) return false;
            wish = word + 1;
        }
        if (word_.compare_exchange_weak(word, wish, std::memory_order_acquire, std::memory_order_relaxed)) return true;
    }
}

// What was given up was the last hold, or others hold it still.
void token::tell_waiters(k::u32 before) noexcept {
    if ((before & count_mask) > 1) return;
    word_.fetch_and(~waiting_bit, std::memory_order_acq_rel);
    waiters_.wake_all();
}

// Sleeps until the token looks free. Whoever gives it up sees the waiting bit, which is set before
// the last look.
void token::wait_for(sharing how) noexcept {
    note_wait(waited_for::token);
    const k::u32 bits = waiting_bit | (how == sharing::exclusive ? wanted_bit : 0);
    const k::u32 in_the_way = exclusive_bit | (how == sharing::exclusive ? count_mask : wanted_bit);
    waiters_.wait([&] { return !(word_.fetch_or(bits, std::memory_order_acq_rel) & in_the_way); });
}

bool token::held() const noexcept {
    for (const token_hold* h = self().tokens; h; h = h->outer_)
        if (&h->token_ == this && h->is_taken()) return true;
    return false;
}

void token_hold::take() noexcept {
    for (const token_hold* h = outer_; h; h = h->outer_) {
        if (&h->token_ != &token_) continue;
        kassert(h->how() == sharing::exclusive || how() == sharing::shared);
        state_ = again;
        break;
    }
    self().tokens = this;
    if (is_again() || token_.try_take(how())) [[likely]]
        return;
    // Sleeping with the outer tokens held could deadlock: give up all, and take all.
    state_ |= not_now;
    critical section;
    self().tokens = nullptr; // those that sleep below must not see half a set
    release_all(outer_);
    take_all(this);
    self().tokens = this;
}

void token_hold::release_all(token_hold* innermost) noexcept {
    for (token_hold* h = innermost; h; h = h->outer_) {
        kassert(h->is_taken());
        h->state_ |= not_now;
        if (!h->is_again()) h->token_.give_up(h->unit_);
    }
}

// The untaken hold whose token has the lowest address: one order for all threads keeps two of them from
// chasing each other.
token_hold* token_hold::first_untaken(token_hold* innermost) noexcept {
    token_hold* first = nullptr;
    for (token_hold* h = innermost; h; h = h->outer_)
        if (h->state_ == not_now && (!first || &h->token_ < &first->token_)) first = h;
    return first;
}

void token_hold::take_all(token_hold* innermost) noexcept {
    while (token_hold* h = first_untaken(innermost)) {
        if (h->token_.try_take(h->how())) {
            h->state_ = 0;
            continue;
        }
        for (token_hold* back = innermost; back; back = back->outer_)
            if (!back->state_) {
                back->state_ = not_now;
                back->token_.give_up(back->unit_);
            }
        h->token_.wait_for(h->how());
    }
    for (token_hold* h = innermost; h; h = h->outer_)
        h->state_ &= ~k::u32{not_now};
}

void release_for_blocking() noexcept {
    token_hold::release_all(self().tokens);
}

void take_again() noexcept {
    token_hold* tokens = std::exchange(self().tokens, nullptr);
    token_hold::take_all(tokens);
    self().tokens = tokens;
}

} // namespace lwkt
