// Tokens: serialisation that is given up while its holder sleeps.
//
// Idea: a token keeps others out while its holder *runs*. Whatever makes the holder block, another token
// included, gives up all its tokens, and they are all taken again before it goes on.
// Guarantee: no order of taking tokens deadlocks, because nobody sleeps holding one.
// Prohibition: what was known under a token must be checked again after anything that may block. A token held
// shared cannot be taken exclusively as well; the other way round, and taking twice, is allowed.
// Cost: one atomic operation each way when nobody else wants it. A preempted thread keeps its tokens.
#pragma once

#include "kernel/lib/annotations.h"
#include "kernel/lwkt/wait_queue.h"

namespace lwkt {

enum class sharing : k::u8 { exclusive, shared };

class CAPABILITY("token") token {
  public:
    token() = default;
    ~token() { kassert(word_.load(std::memory_order_relaxed) == 0); }
    token(const token&) = delete;
    token& operator=(const token&) = delete;

    // For assertions. Does the running thread hold it (in any way)?
    bool held() const noexcept;

  private:
    friend class token_hold;
    // One word: who holds it, and what those who wait want.
    static constexpr k::u32 exclusive_bit = 1u << 31;
    static constexpr k::u32 waiting_bit = 1u << 30; // somebody sleeps in waiters_
    static constexpr k::u32 wanted_bit = 1u << 29;  // an exclusive one waits: no new shared holders
    static constexpr k::u32 count_mask = wanted_bit - 1;

    // Takes it if nobody has it in the way, or wants it so. May fail in vain.
    bool take_free(sharing how) noexcept {
        k::u32 word = 0;
        if (how == sharing::exclusive)
            return word_.compare_exchange_strong(word, exclusive_bit, std::memory_order_acquire,
                                                 std::memory_order_relaxed);
        word = word_.load(std::memory_order_relaxed);
        return !(word & ~count_mask) &&
               word_.compare_exchange_weak(word, word + 1, std::memory_order_acquire, std::memory_order_relaxed);
    }
    bool try_take(sharing how) noexcept;
    // What a hold adds to the word.
    static constexpr k::u32 unit_of(sharing how) { return how == sharing::exclusive ? exclusive_bit : 1; }
    void give_up(k::u32 unit) noexcept {
        const k::u32 before = word_.fetch_sub(unit, std::memory_order_acq_rel);
        if (before & waiting_bit) [[unlikely]]
            tell_waiters(before);
    }
    void tell_waiters(k::u32 before) noexcept;
    void wait_for(sharing how) noexcept;

    std::atomic<k::u32> word_ = 0;
    wait_queue waiters_;
};

// Holds a token for a scope. Scopes nest. Thread context.
class [[nodiscard]] SCOPED_CAPABILITY token_hold {
  public:
    explicit token_hold(token& t, sharing how = sharing::exclusive) noexcept ACQUIRE(t)
        : token_(t), unit_(token::unit_of(how)) {
        thread& me = self();
        outer_ = me.tokens;
        if (!outer_ && t.take_free(how)) [[likely]]
            me.tokens = this;
        else
            take();
    }
    ~token_hold() RELEASE() {
        thread& me = self();
        kassert(me.tokens == this);
        me.tokens = outer_;
        if (!state_) [[likely]]
            token_.give_up(unit_);
        else
            kassert(state_ == again);
    }
    token_hold(const token_hold&) = delete;
    token_hold& operator=(const token_hold&) = delete;

  private:
    friend class token;
    friend void release_for_blocking() noexcept;
    friend void take_again() noexcept;

    void take() noexcept; // with others held, or against others
    static void release_all(token_hold* innermost) noexcept;
    static void take_all(token_hold* innermost) noexcept;
    static token_hold* first_untaken(token_hold* innermost) noexcept;

    sharing how() const { return unit_ == token::unit_of(sharing::shared) ? sharing::shared : sharing::exclusive; }
    bool is_taken() const { return !(state_ & not_now); }
    bool is_again() const { return state_ & again; }

    enum : k::u32 {
        again = 1,  // this thread holds it already, further out
        not_now = 2 // while the thread is blocked
    };
    token& token_;
    token_hold* outer_; // the next hold of this thread
    k::u32 unit_, state_ = 0;
};

// The scheduler's part of the guarantee. In a critical section.
void release_for_blocking() noexcept;
void take_again() noexcept;

} // namespace lwkt
