//! Compiles the eBPF programs into `OUT_DIR`, as ELF objects that the library embeds.
//!
//! What is not here: a generated skeleton. It would bring its unsafe code into a room that forbids it; the loader opens
//! the object itself and finds the maps by their names.

fn main() {
    println!("cargo::rerun-if-changed=bpf/build.rs");
    #[cfg(feature = "xdp")]
    if let Err(message) = programs::build() {
        eprintln!("{message}");
        std::process::exit(1);
    }
}

#[cfg(feature = "xdp")]
mod programs {
    use libbpf_cargo::SkeletonBuilder;
    use std::env;
    use std::path::PathBuf;
    use std::process::Command;

    /// Every file that the objects are made of.
    const FILES: [&str; 15] = [
        "bpf/answer.h",
        "bpf/contract.h",
        "bpf/cookie.h",
        "bpf/flood.bpf.c",
        "bpf/flood.h",
        "bpf/generate.bpf.c",
        "bpf/generate.h",
        "bpf/generate_tcp.h",
        "bpf/measure.bpf.c",
        "bpf/packets.bpf.c",
        "bpf/parse.h",
        "bpf/send.h",
        "bpf/sources.h",
        "bpf/steer.bpf.c",
        "bpf/usual.h",
    ];

    /// The objects, by the name of their source without `.bpf.c`.
    const OBJECTS: [&str; 5] = ["steer", "flood", "generate", "measure", "packets"];

    pub fn build() -> Result<(), String> {
        for file in FILES {
            println!("cargo::rerun-if-changed={file}");
        }
        println!("cargo::rerun-if-env-changed=CLANG");
        let clang = env::var("CLANG").unwrap_or_else(|_| "clang".to_owned());
        find(&clang)?;
        let folder = PathBuf::from(variable("OUT_DIR")?);
        for name in OBJECTS {
            let source = format!("bpf/{name}.bpf.c");
            SkeletonBuilder::new()
                .source(&source)
                .obj(folder.join(format!("{name}.bpf.o")))
                .clang(&clang)
                .clang_args(arguments()?)
                .build()
                .map_err(|cause| format!("compiling {source} with {clang}: {cause:#}"))?;
        }
        Ok(())
    }

    /// The compiler is there, or an error that says how to get it.
    fn find(clang: &str) -> Result<(), String> {
        let found = Command::new(clang).arg("--version").output();
        found.map(drop).map_err(|cause| {
            format!(
                "compiling the eBPF programs needs clang, and running `{clang}` failed: {cause}; \
                 install clang: ./scripts/setup (the environment variable CLANG names another one)"
            )
        })
    }

    /// Warnings are errors; instructions of version 3 (Linux 5.1) are the same for every clang; the kernel's asm/
    /// headers lie in a folder named after the architecture on Debian and its relatives.
    fn arguments() -> Result<Vec<String>, String> {
        let architecture = variable("CARGO_CFG_TARGET_ARCH")?;
        Ok(vec![
            "-Wall".to_owned(),
            "-Werror".to_owned(),
            "-mcpu=v3".to_owned(),
            format!("-I/usr/include/{architecture}-linux-gnu"),
        ])
    }

    fn variable(name: &str) -> Result<String, String> {
        env::var(name).map_err(|cause| format!("the environment variable {name}, which cargo sets: {cause}"))
    }
}
