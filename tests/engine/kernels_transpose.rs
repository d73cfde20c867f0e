//! Transposes of matrices: shader against CPU twin and definition over awkward shapes, in both families.

use crate::check::check;
use crate::common::{engines, numbers};
use downhill::kernels::transpose::Transpose;
use downhill::tensor::TEXEL;

#[test]
fn transposes_agree_with_their_twins_and_the_definition() {
    for engine in engines() {
        for (matrices, rows, columns) in
            [(1usize, 1usize, 1usize), (1, 4, 4), (2, 3, 5), (3, 17, 65), (2, 64, 2), (5, 9, 12)]
        {
            let what = format!("{matrices} of {rows} x {columns}");
            let (from, to) = (columns.next_multiple_of(TEXEL), rows.next_multiple_of(TEXEL));
            // Padding columns of the input may hold anything.
            let x = numbers(3, matrices * rows * from);
            let transpose = Transpose { matrices, rows, columns };
            let y = check(engine, &transpose.dispatch(engine.family), &[&x], transpose.texels(), &what);
            assert_eq!(y.len(), matrices * columns * to, "{what}");
            for (at, value) in y.iter().enumerate() {
                let (matrix, column, row) = (at / to / columns, at / to % columns, at % to);
                let expected = if row < rows { x[(matrix * rows + row) * from + column] } else { 0.0 };
                assert_eq!(*value, expected, "{what} at {row}, {column}");
            }
        }
    }
}
