use super::*;
use crate::ErrorKind;

/// The row of an item: any function of its number.
fn row(item: usize) -> [f64; 2] {
    [item as f64 + 0.1, if item == 2 { f64::NAN } else { -(item as f64).sqrt() }]
}

#[expect(clippy::unnecessary_wraps, reason = "as measurements are")]
fn measure(shard: Shard) -> Result<Rows> {
    Ok(Rows::new(2, shard.items(7).flat_map(row).collect()))
}

fn settings() -> Value {
    json!({ "study": "test", "seed": 3, "sigma": 0.1, "trajectories": { "steps": 5 } })
}

fn open(folder: &Path, index: usize, of: usize) -> Result<Parts> {
    Parts::open(folder, Shard { index, of }, &settings(), "a device".to_owned())
}

fn bits(rows: &Rows) -> Vec<u64> {
    rows.values().iter().map(|value| value.to_bits()).collect()
}

#[test]
fn any_number_of_runs_in_any_order_have_the_rows_of_one() {
    let mut alone = Parts::in_memory();
    alone.measure("images", 7, measure).unwrap();
    let expected = alone.gather().unwrap().unwrap();
    for of in [1, 2, 3, 9] {
        let folder = tempfile::tempdir().unwrap();
        for index in (0..of).rev() {
            let mut parts = open(folder.path(), index, of).unwrap();
            parts.measure("images", 7, measure).unwrap();
            match parts.gather().unwrap() {
                Ok(found) => {
                    assert_eq!(index, 0, "the last run reduces");
                    assert_eq!(bits(found.rows("images").unwrap()), bits(expected.rows("images").unwrap()));
                    assert_eq!(found.devices, ["a device"]);
                    assert!(found.rows("other").is_err());
                }
                Err(missing) => assert!(index > 0 && missing.contains(&format!("of {of} ")), "{missing}"),
            }
        }
    }
}

#[test]
fn missing_parts_are_named_and_kept_ones_are_not_measured_again() {
    let folder = tempfile::tempdir().unwrap();
    for index in [0, 1, 2, 4, 6, 7] {
        open(folder.path(), index, 8).unwrap().measure("images", 7, measure).unwrap();
    }
    let mut again = open(folder.path(), 4, 8).unwrap();
    again.measure("images", 7, |_| panic!("measured again")).unwrap();
    let text = again.gather().unwrap().unwrap_err();
    let place = folder.path().join(FOLDER);
    assert!(text.starts_with(&format!("parts 3 and 5 of 8 are missing in {}", place.display())), "{text}");

    // Of two kinds of items, both must be there; the last run has none of either.
    let mut more = open(folder.path(), 5, 8).unwrap();
    more.measure("images", 7, measure).unwrap();
    more.measure("trajectories", 7, measure).unwrap();
    assert_eq!(more.missing(), [0, 1, 2, 3, 4, 6]);
}

#[test]
fn other_settings_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    open(folder.path(), 0, 2).unwrap().measure("images", 7, measure).unwrap();
    open(folder.path(), 1, 2).unwrap();
    let refused = |settings: Value, of: usize| {
        let error = Parts::open(folder.path(), Shard { index: 0, of }, &settings, String::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Argument);
        assert!(error.hint().unwrap().contains("parts"));
        error.to_string()
    };
    assert!(refused(settings(), 3).contains("`shards` is 2, and this run has 3"));
    let mut other = settings();
    other["trajectories"]["steps"] = json!(6);
    let text = refused(other, 2);
    assert!(text.contains("`trajectories.steps` is 5, and this run has 6"), "{text}");

    // A part that a run of other settings wrote into the folder.
    let mut other = settings();
    other["seed"] = json!(4);
    let stray = tempfile::tempdir().unwrap();
    let shard = Shard { index: 1, of: 2 };
    Parts::open(stray.path(), shard, &other, String::new()).unwrap().measure("images", 7, measure).unwrap();
    let name = "parts/images-1-of-2.npz";
    std::fs::copy(stray.path().join(name), folder.path().join(name)).unwrap();
    let mut first = open(folder.path(), 0, 2).unwrap();
    first.measure("images", 7, measure).unwrap();
    let error = first.gather().unwrap_err().to_string();
    assert!(error.contains("`seed` is 4, and this run has 3"), "{error}");
}

#[test]
fn damaged_parts_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    open(folder.path(), 0, 2).unwrap().measure("images", 7, measure).unwrap();
    let part = |index: usize| folder.path().join(format!("parts/images-{index}-of-2.npz"));
    let whole = std::fs::read(part(0)).unwrap();
    std::fs::write(part(0), &whole[..whole.len() / 2]).unwrap();
    let error = open(folder.path(), 0, 2).unwrap().measure("images", 7, measure).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::File);
    assert!(error.hint().unwrap().contains("measures it again"));
    // The part of another run under this one's name; rows of fewer items.
    std::fs::write(part(1), &whole).unwrap();
    let error = open(folder.path(), 1, 2).unwrap().measure("images", 7, measure).unwrap_err();
    assert!(error.to_string().contains("a part of 0, expected 1"), "{error}");
    std::fs::write(part(0), &whole).unwrap();
    let error = open(folder.path(), 0, 2).unwrap().measure("images", 9, measure).unwrap_err();
    assert!(error.to_string().contains("a part of 7, expected 9"), "{error}");
    std::fs::write(folder.path().join("parts/settings.json"), "{").unwrap();
    let error = open(folder.path(), 0, 2).unwrap_err();
    assert!(error.to_string().contains("not the settings of parts"), "{error}");
}
