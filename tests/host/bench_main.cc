// nutcracker-bench [GLOB]: boots the kernel in this process to run benchmarks. The kernel ends the process.
#include "arch/host/host.h"

#include <string>
#include <unistd.h>

int main(int argc, char** argv) {
    std::string command_line = std::string("bench=") + (argc > 1 ? argv[1] : "*");
    arch::host::start({.command_line = command_line});
    for (;;)
        pause();
}
