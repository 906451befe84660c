//! Which instruction set this processor has, and the one door to code compiled for it.
//!
//! Every vectorised body is written once, as plain scalar Rust, and [`per_isa!`] compiles it once a
//! set. Nothing is contracted or reassociated, so all sets give the same bits.

use std::sync::OnceLock;

/// An instruction set for which bodies are compiled, and which this processor has: there is no other
/// way to one than to ask here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Isa(Level);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Scalar,
    Avx2,
    Avx512,
}

impl Isa {
    /// What the target guarantees: SSE2 on x86-64, NEON on aarch64.
    pub const SCALAR: Isa = Isa(Level::Scalar);

    #[inline(always)]
    pub(crate) fn level(self) -> Level {
        self.0
    }

    /// The sets that this processor can run, narrowest first.
    pub fn available() -> &'static [Isa] {
        const ALL: [Isa; 3] = [Isa(Level::Scalar), Isa(Level::Avx2), Isa(Level::Avx512)];
        static COUNT: OnceLock<usize> = OnceLock::new();
        let count = *COUNT.get_or_init(|| {
            #[cfg(target_arch = "x86_64")]
            {
                let avx2 = is_x86_feature_detected!("avx2");
                let avx512 = avx2
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl");
                1 + usize::from(avx2) + usize::from(avx512)
            }
            #[cfg(not(target_arch = "x86_64"))]
            1
        });
        &ALL[..count]
    }

    /// The set in use: the widest available, or what `IRONSTEP_ISA=scalar|avx2|avx512` narrows it
    /// to. A value that is unknown or wider than the processor leaves the widest.
    pub fn current() -> Isa {
        static CURRENT: OnceLock<Isa> = OnceLock::new();
        *CURRENT.get_or_init(|| {
            let wanted = match std::env::var("IRONSTEP_ISA").as_deref() {
                Ok("scalar") => Level::Scalar,
                Ok("avx2") => Level::Avx2,
                _ => Level::Avx512,
            };
            let fitting = Isa::available().iter().filter(|&&isa| isa.0 <= wanted);
            fitting.copied().next_back().unwrap_or(Isa::SCALAR)
        })
    }

    /// The name by which `IRONSTEP_ISA` and the configuration report call it.
    pub fn name(self) -> &'static str {
        match self.0 {
            Level::Scalar if cfg!(target_arch = "aarch64") => "neon",
            Level::Scalar => "scalar",
            Level::Avx2 => "avx2",
            Level::Avx512 => "avx512",
        }
    }
}

/// Compiles a function body once for each instruction set and makes `name(isa, args…)`, which runs
/// the copy for `isa`. Generics are given twice: as declared, and as passed on.
///
/// The body is pasted into each copy rather than called: a closure or an inner function made
/// elsewhere would not inherit the target features, and slices keep their `noalias`, without which
/// loops over five buffers are not vectorised.
macro_rules! per_isa {
    ($(#[$meta:meta])* $vis:vis fn $($rest:tt)*) => {
        $crate::isa::per_isa! { @ [$vis] [] [$(#[$meta])*] $($rest)* }
    };
    ($(#[$meta:meta])* $vis:vis unsafe fn $($rest:tt)*) => {
        $crate::isa::per_isa! { @ [$vis] [unsafe] [$(#[$meta])*] $($rest)* }
    };
    (
        @ [$vis:vis] [$($unsafe:tt)?] [$(#[$meta:meta])*]
        $name:ident [$($generics:tt)*] [$($pass:tt)*] ($($arg:ident : $ty:ty),* $(,)?)
        $(-> $ret:ty)? $body:block
    ) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments)]
        $vis $($unsafe)? fn $name<$($generics)*>(isa: $crate::isa::Isa, $($arg: $ty),*) $(-> $ret)? {
            #[allow(clippy::too_many_arguments)]
            $($unsafe)? fn scalar<$($generics)*>($($arg: $ty),*) $(-> $ret)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2")]
            #[allow(clippy::too_many_arguments)]
            $($unsafe)? fn avx2<$($generics)*>($($arg: $ty),*) $(-> $ret)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
            #[allow(clippy::too_many_arguments)]
            $($unsafe)? fn avx512<$($generics)*>($($arg: $ty),*) $(-> $ret)? $body

            // SAFETY: an `Isa` other than `SCALAR` is only made by `Isa::available`, which asked the
            // processor. If the function is unsafe, its caller answers for the arguments.
            #[allow(unused_unsafe)]
            unsafe {
                match isa.level() {
                    #[cfg(target_arch = "x86_64")]
                    $crate::isa::Level::Avx512 => avx512::<$($pass)*>($($arg),*),
                    #[cfg(target_arch = "x86_64")]
                    $crate::isa::Level::Avx2 => avx2::<$($pass)*>($($arg),*),
                    _ => scalar::<$($pass)*>($($arg),*),
                }
            }
        }
    };
}
pub(crate) use per_isa;
