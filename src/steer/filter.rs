//! The prefix filter: which sources are denied, and how to get from one filter to another without a gap.
//!
//! Pure values and functions. [`SourceFilter`] says what is wanted, and mirrors what the map holds; `SourceFilter::steps_to`
//! lists the single changes in an order in which whoever is allowed by both filters is allowed at every moment, and whoever
//! is denied by both stays denied. What is not here: the map itself.

use super::prefix::Prefix;
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

/// How many prefixes a filter has at most.
pub const MAX_PREFIXES: usize = 16_384;

/// What the filter says of a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Take segments from there.
    Allow,
    /// Drop them.
    Deny,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Rule::Allow => "allow",
            Rule::Deny => "deny",
        })
    }
}

/// Rules by prefix. The longest prefix that covers a source decides; what none covers is allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceFilter {
    rules: BTreeMap<Prefix, Rule>,
}

/// One change of one map element; the kernel makes each of them at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FilterStep {
    /// Insert a prefix, or change its rule.
    Set(Prefix, Rule),
    /// Remove a prefix.
    Remove(Prefix),
}

impl SourceFilter {
    /// The filter with these rules; of several for one prefix the last counts.
    pub fn new(rules: impl IntoIterator<Item = (Prefix, Rule)>) -> Self {
        Self { rules: rules.into_iter().collect() }
    }

    /// How many prefixes there are.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// True if it allows everything for want of rules.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// What it says of a source.
    pub fn rule_for(&self, source: IpAddr) -> Rule {
        let covering = self.rules.iter().filter(|(prefix, _)| prefix.contains(source));
        covering.max_by_key(|(prefix, _)| prefix.len()).map_or(Rule::Allow, |(_, rule)| *rule)
    }

    /// The changes that turn `self` into `wanted`.
    ///
    /// New prefixes come longest first: until a prefix is there, what is longer and new covers nothing of which the old
    /// filter and `wanted` say the same and this step another. Old ones go shortest first: the longest, which decided, goes
    /// last. The program must look at the filter only from behind the last step on if the old one was empty, and no more from
    /// before the first step on if `wanted` is: no filter allows everything. The test below tries it.
    pub(super) fn steps_to(&self, wanted: &Self) -> Vec<FilterStep> {
        let mut set: Vec<_> =
            wanted.rules.iter().filter(|(prefix, rule)| self.rules.get(prefix) != Some(rule)).collect();
        set.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        let mut steps: Vec<_> = set.into_iter().map(|(prefix, rule)| FilterStep::Set(*prefix, *rule)).collect();
        let mut gone: Vec<_> = self.rules.keys().filter(|prefix| !wanted.rules.contains_key(prefix)).collect();
        gone.sort_by_key(|prefix| prefix.len());
        steps.extend(gone.into_iter().map(|prefix| FilterStep::Remove(*prefix)));
        steps
    }

    /// Records that a step was taken.
    pub(super) fn take(&mut self, step: FilterStep) {
        match step {
            FilterStep::Set(prefix, rule) => {
                self.rules.insert(prefix, rule);
            }
            FilterStep::Remove(prefix) => {
                self.rules.remove(&prefix);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    fn addresses() -> Vec<IpAddr> {
        let v4 = (0..16_u8).map(|i| IpAddr::from([10, 0, 0, i << 4]));
        v4.chain(["2001:db8::1", "2001:db8:0:1::1", "::1"].map(|text| text.parse().unwrap())).collect()
    }

    /// Filters of few prefixes that lie in one another, of both families.
    fn filters() -> impl Strategy<Value = SourceFilter> {
        let v4 = (0_u8..=4, 0_u8..16).prop_map(|(len, at)| {
            let at = if len == 0 { 0 } else { at >> (4 - len) << (4 - len) << 4 };
            Prefix::new([10, 0, 0, at].into(), 24 + len).unwrap()
        });
        let wide = prop::sample::select(vec!["0.0.0.0/0", "::/0", "2001:db8::/32", "2001:db8::/64"]).prop_map(prefix);
        let rule = prop::sample::select(vec![Rule::Allow, Rule::Deny]);
        prop::collection::vec((prop_oneof![3 => v4, 1 => wide], rule), 0..10).prop_map(SourceFilter::new)
    }

    proptest! {
        #[test]
        fn whoever_both_filters_treat_alike_is_treated_so_at_every_step(old in filters(), new in filters()) {
            let mut now = old.clone();
            for step in old.steps_to(&new) {
                now.take(step);
                for addr in addresses() {
                    let (before, after) = (old.rule_for(addr), new.rule_for(addr));
                    let used = !old.is_empty() && !new.is_empty();
                    let during = if used { now.rule_for(addr) } else { Rule::Allow };
                    prop_assert!(before != after || during == before, "{addr} is {during:?} at {step:?}");
                }
            }
            prop_assert_eq!(now, new);
        }
    }

    #[test]
    fn the_longest_prefix_decides_within_its_family() {
        let filter = SourceFilter::new([
            (prefix("0.0.0.0/0"), Rule::Deny),
            (prefix("10.0.0.0/8"), Rule::Allow),
            (prefix("10.9.0.0/16"), Rule::Deny),
        ]);
        let rule = |text: &str| filter.rule_for(text.parse().unwrap());
        assert_eq!((rule("192.0.2.1"), rule("10.1.1.1"), rule("10.9.1.1")), (Rule::Deny, Rule::Allow, Rule::Deny));
        assert_eq!(rule("2001:db8::1"), Rule::Allow);
    }
}
