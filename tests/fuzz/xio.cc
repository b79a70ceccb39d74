// libFuzzer on sys/xio: each input is a program of xio operations that runs against the model.
#include "tests/fuzz/in_kernel.h"
#include "tests/fuzz/xio_program.h"

void fuzz::run_input(number_stream& decisions) {
    run_xio_program(decisions);
}
