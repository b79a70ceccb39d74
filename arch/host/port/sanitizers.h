// Which sanitizer this build runs under. g++ tells by macros, clang++ by __has_feature.
#pragma once

#if defined(__SANITIZE_ADDRESS__)
#define HOST_ADDRESS_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HOST_ADDRESS_SANITIZER 1
#endif
#endif

#if defined(__SANITIZE_THREAD__)
#define HOST_THREAD_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define HOST_THREAD_SANITIZER 1
#endif
#endif

#ifdef HOST_ADDRESS_SANITIZER
#include <sanitizer/asan_interface.h>
#endif
#ifdef HOST_THREAD_SANITIZER
#include <sanitizer/tsan_interface.h>
#endif

namespace arch::host {

#if defined(HOST_ADDRESS_SANITIZER) || defined(HOST_THREAD_SANITIZER)
constexpr bool sanitized = true;
#else
constexpr bool sanitized = false;
#endif

#ifdef HOST_THREAD_SANITIZER
constexpr bool under_thread_sanitizer = true;
#else
constexpr bool under_thread_sanitizer = false;
#endif

} // namespace arch::host
