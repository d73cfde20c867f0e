//! Whole numbers of flags, with the range that they may have in the refusal of any other text.

use std::fmt::Debug;
use std::ops::RangeInclusive;

use clap::builder::{StringValueParser, TypedValueParser};

/// A parser of whole numbers in `range`.
pub fn whole<T>(range: RangeInclusive<u64>) -> impl TypedValueParser<Value = T>
where
    T: TryFrom<u64> + Debug + Clone + Send + Sync + 'static,
{
    StringValueParser::new().try_map(move |text| read(&text, &range))
}

/// A parser of whole numbers from `least`.
pub fn whole_from<T>(least: u64) -> impl TypedValueParser<Value = T>
where
    T: TryFrom<u64> + Debug + Clone + Send + Sync + 'static,
{
    whole(least..=u64::MAX)
}

fn read<T: TryFrom<u64>>(text: &str, range: &RangeInclusive<u64>) -> Result<T, String> {
    let number = text.parse::<u64>().ok().filter(|number| range.contains(number));
    number.and_then(|number| T::try_from(number).ok()).ok_or_else(|| {
        let (least, most) = (range.start(), range.end());
        if *most == u64::MAX {
            format!("expected a whole number from {least}")
        } else {
            format!("expected a whole number from {least} to {most}")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_is_in_the_refusal() {
        assert_eq!(read::<usize>("3", &(1..=3)), Ok(3));
        for text in ["0", "4", "-1", "1.5", "", "three", "99999999999999999999"] {
            assert_eq!(read::<usize>(text, &(1..=3)), Err("expected a whole number from 1 to 3".to_owned()), "{text}");
        }
        assert_eq!(read::<u64>("18446744073709551615", &(0..=u64::MAX)), Ok(u64::MAX));
        assert_eq!(read::<u64>("-1", &(0..=u64::MAX)), Err("expected a whole number from 0".to_owned()));
    }
}
