// For a program of these sources that is no fuzz target: GCC's -fsanitize-coverage=trace-pc calls this.
extern "C" void __sanitizer_cov_trace_pc();
extern "C" __attribute__((weak, no_sanitize_coverage)) void __sanitizer_cov_trace_pc() {}
