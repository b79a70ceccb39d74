// The real-time clock of the PC, in the CMOS: what time of day it is when the machine starts. It is taken to keep UTC.
#include "arch/machine.h"
#include "arch/x86_64/cpu/instructions.h"

namespace arch {

namespace x86 {

namespace {

enum : u8 {
    seconds_register = 0,
    minutes_register = 2,
    hours_register = 4,
    day_register = 7,
    month_register = 8,
    year_register = 9,
    status_a = 10,
    status_b = 11,
};

u8 read_cmos(u8 which) {
    out8(0x70, which);
    return in8(0x71);
}

struct reading {
    u8 seconds, minutes, hours, day, month, year;
    bool operator==(const reading&) const = default;
};

reading read_once() {
    constexpr u8 updating = 0x80;
    // An update takes 2 ms at most; a clock that is not there reads as all ones for ever.
    for (int tries = 0; tries < 10'000 && (read_cmos(status_a) & updating); tries++)
        cpu::relax();
    return {read_cmos(seconds_register), read_cmos(minutes_register), read_cmos(hours_register),
            read_cmos(day_register),     read_cmos(month_register),   read_cmos(year_register)};
}

// An update may come in between: until two readings agree.
reading read_clock() {
    reading before = read_once();
    for (int tries = 0; tries < 10; tries++) {
        const reading now = read_once();
        if (now == before) break;
        before = now;
    }
    return before;
}

u8 from_decimal(u8 digits) {
    return static_cast<u8>((digits >> 4) * 10 + (digits & 15));
}

// Days from 1970 to a date of the Gregorian calendar. The year begins in March, so that the leap day is its last.
u64 days_since_1970(u64 year, u64 month, u64 day) {
    if (month <= 2) year--;
    const u64 months = (month + 9) % 12;
    const u64 days = year * 365 + year / 4 - year / 100 + year / 400 + (months * 153 + 2) / 5 + day - 1;
    return days - 719'468;
}

} // namespace

} // namespace x86

std::uint64_t clock::wall_seconds() noexcept {
    using namespace x86;
    constexpr u8 binary = 4, of_24_hours = 2, afternoon = 0x80;
    const u8 format = read_cmos(status_b);
    reading r = read_clock();
    const bool after_noon = !(format & of_24_hours) && (r.hours & afternoon);
    r.hours &= static_cast<u8>(~afternoon);
    if (!(format & binary))
        r = {from_decimal(r.seconds), from_decimal(r.minutes), from_decimal(r.hours),
             from_decimal(r.day),     from_decimal(r.month),   from_decimal(r.year)};
    if (!(format & of_24_hours)) r.hours = static_cast<u8>(r.hours % 12 + (after_noon ? 12 : 0));
    const bool sane = r.seconds < 60 && r.minutes < 60 && r.hours < 24 && r.day >= 1 && r.day <= 31 && r.month >= 1 &&
                      r.month <= 12 && r.year < 100;
    if (!sane) return 0;
    return ((days_since_1970(2000u + r.year, r.month, r.day) * 24 + r.hours) * 60 + r.minutes) * 60 + r.seconds;
}

} // namespace arch
