//! The distance to definitions in float64.

/// max |a - b| / max |b| against a definition in float64.
pub fn distance_to_definition(a: &[f32], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let largest = b.iter().fold(0.0f64, |most, v| most.max(v.abs())).max(f64::MIN_POSITIVE);
    let apart = a.iter().zip(b).map(|(a, b)| if a.is_nan() { f64::INFINITY } else { (f64::from(*a) - b).abs() });
    apart.fold(0.0, f64::max) / largest
}
