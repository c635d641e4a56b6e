//! Compiles steering/glue.c, and with it bpf/parse.h, bpf/cookie.h and bpf/usual.h, for the host; under cargo-fuzz with libFuzzer's coverage and with the
//! sanitizer that the Rust code has.

use std::env;

fn main() {
    for file in
        ["build.rs", "steering/glue.c", "../bpf/contract.h", "../bpf/cookie.h", "../bpf/parse.h", "../bpf/usual.h"]
    {
        println!("cargo::rerun-if-changed={file}");
    }
    println!("cargo::rerun-if-env-changed=CLANG");
    let mut glue = cc::Build::new();
    // The compiler of the eBPF program; gcc does not know libFuzzer's coverage either.
    glue.compiler(env::var("CLANG").unwrap_or_else(|_| "clang".to_owned()));
    glue.file("steering/glue.c").opt_level(2).warnings_into_errors(true);
    if env::var_os("CARGO_CFG_FUZZING").is_some() {
        glue.flag("-fsanitize-coverage=inline-8bit-counters,pc-table,trace-cmp");
    }
    if env::var("CARGO_CFG_SANITIZE").is_ok_and(|sanitizers| sanitizers.contains("address")) {
        glue.flag("-fsanitize=address");
    }
    glue.compile("handfast_fuzz_glue");
}
