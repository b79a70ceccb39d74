// The interpreter of random xio operations against a model; tests/sys/xio/random_test.cc has it.
#pragma once

#include "tests/fuzz/number_stream.h"

namespace fuzz {

// Runs operations for as long as the stream decides more, inside a self-test: what is wrong fails that.
void run_xio_program(number_stream& decisions);

} // namespace fuzz
