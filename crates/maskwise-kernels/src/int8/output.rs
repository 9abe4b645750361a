//! Where products with quantized weights go.

use super::OUTPUTS;
use super::rows::Rows;
use rayon::prelude::*;

/// Where a product goes. Pieces of work write different columns of it.
#[derive(Clone, Copy)]
pub(crate) struct Output<'a> {
    values: *mut f32,
    rows: usize,
    /// As `values`, of the rows that stand behind those: products of what the first digit of a row leaves.
    remainders: *mut f32,
    /// How many those are.
    remaining: usize,
    columns: usize,
    /// A number for each column that is added.
    bias: Option<&'a [f32]>,
    /// The panel of the weight that is the first of those multiplied with.
    first_panel: usize,
}

// SAFETY: the pointers are to slices that `Output::of` borrows mutably for as long as an `Output` lives; threads write different elements of
// them.
#[allow(unsafe_code)]
unsafe impl Send for Output<'_> {}

// SAFETY: as above.
#[allow(unsafe_code)]
unsafe impl Sync for Output<'_> {}

impl<'a> Output<'a> {
    /// Has `multiply` write the product of `rows` with a weight of `columns` outputs plus `bias`, and adds up the digits of rows that have two.
    ///
    /// # Panics
    /// When the lengths do not fit.
    pub(crate) fn of(
        rows: &Rows,
        bias: Option<&'a [f32]>,
        output: &mut [f32],
        columns: usize,
        multiply: impl FnOnce(Self),
    ) {
        assert!(bias.is_none_or(|bias| bias.len() == columns), "a bias for {columns} columns");
        let remaining = rows.remainders.len();
        assert_eq!((rows.count - remaining) * columns, output.len());
        crate::work::with_scratch(remaining * columns, |remainders| {
            multiply(Self {
                values: output.as_mut_ptr(),
                rows: rows.count - remaining,
                remainders: remainders.as_mut_ptr(),
                remaining,
                columns,
                bias,
                first_panel: 0,
            });
            let mut of_row = vec![None; rows.count - remaining];
            for (row, remainder) in rows.remainders.iter().zip(remainders.chunks(columns)) {
                of_row[*row] = Some(remainder);
            }
            if remaining > 0 {
                output.par_chunks_mut(columns).zip(of_row).for_each(|(sums, remainder)| {
                    for (sum, value) in sums.iter_mut().zip(remainder.unwrap_or_default()) {
                        *sum += value;
                    }
                });
            }
        });
    }

    /// The same for products with panels from `panel` on.
    pub(crate) fn starting_at(self, panel: usize) -> Self {
        Self { first_panel: panel, ..self }
    }

    /// How many rows are written.
    pub(super) fn rows(self) -> usize {
        self.rows + self.remaining
    }

    /// Columns of the product.
    pub(crate) fn columns(self) -> usize {
        self.columns
    }

    /// The column that is the first of a panel's.
    pub(super) fn first_column(self, panel: usize) -> usize {
        (self.first_panel + panel) * OUTPUTS
    }

    /// What is added to a row, from a column on.
    pub(super) fn bias(self, row: usize, column: usize) -> Option<&'a [f32]> {
        self.bias.filter(|_| row < self.rows).and_then(|bias| bias.get(column..))
    }

    /// Where a row begins.
    pub(super) fn row(self, row: usize) -> *mut f32 {
        match row.checked_sub(self.rows) {
            None => self.values.wrapping_add(row * self.columns),
            Some(remainder) => self.remainders.wrapping_add(remainder * self.columns),
        }
    }

    /// Writes what `sums` (of the panel's 16 outputs) are worth into a row.
    #[allow(unsafe_code)]
    pub(crate) fn write(
        self,
        row: usize,
        panel: usize,
        sums: &[i32; OUTPUTS],
        row_scale: f32,
        scales: &[f32; OUTPUTS],
    ) {
        assert!(row < self.rows());
        let (start, values) = (self.first_column(panel), self.row(row));
        let bias = self.bias(row, start);
        for (place, column) in (start..self.columns.min(start + OUTPUTS)).enumerate() {
            let product = sums[place] as f32 * row_scale * scales[place];
            let value = bias.map_or(product, |bias| product + bias[place]);
            // SAFETY: row and column lie inside of the output; nobody else writes this column.
            unsafe { values.add(column).write(value) };
        }
    }
}
