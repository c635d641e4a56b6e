//! Structs of `u64` fields that are declared once and follow as names and as an array of words.

/// Declares a struct of `u64` fields, with `NAMES` in the declared order and the way to and from words.
macro_rules! word_struct {
    ($(#[$struct_doc:meta])* pub struct $struct_name:ident { $( $(#[$doc:meta])* $name:ident ),+ $(,)? }) => {
        $(#[$struct_doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $struct_name { $( $(#[$doc])* pub $name: u64 ),+ }

        impl $struct_name {
            /// The fields' names, in the order of [`Self::to_array`].
            pub const NAMES: &'static [&'static str] = &[ $( stringify!($name) ),+ ];

            /// The fields' values.
            pub fn to_array(&self) -> [u64; Self::NAMES.len()] {
                [ $( self.$name ),+ ]
            }

            /// The inverse of [`Self::to_array`].
            pub fn from_array(words: &[u64; Self::NAMES.len()]) -> Self {
                let [ $( $name ),+ ] = *words;
                Self { $( $name ),+ }
            }

            /// Names and values.
            pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
                Self::NAMES.iter().copied().zip(self.to_array())
            }
        }
    };
}

pub(crate) use word_struct;
