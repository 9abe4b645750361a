//! The assignment problem.

/// For each row of `costs` (all of length `columns`) its column, so that the sum of costs is lowest and no column is taken twice; with more
/// rows than columns some rows have none. A cost that is not finite counts as a very high one. The Hungarian method with potentials,
/// O(rows² · columns).
pub(super) fn assign(costs: &[Vec<f64>], columns: usize) -> Vec<Option<usize>> {
    let rows = costs.len();
    if rows > columns {
        let turned: Vec<Vec<f64>> =
            (0..columns).map(|column| costs.iter().map(|row| row[column]).collect()).collect();
        let mut assigned = vec![None; rows];
        for (column, row) in assign(&turned, rows).into_iter().enumerate() {
            if let Some(row) = row {
                assigned[row] = Some(column);
            }
        }
        return assigned;
    }
    // Rows and columns count from 1 here; column 0 holds the row that looks for its column.
    let (mut row_potential, mut column_potential) = (vec![0.0; rows + 1], vec![0.0; columns + 1]);
    let mut row_of = vec![0; columns + 1];
    for row in 1..=rows {
        row_of[0] = row;
        let mut least = vec![f64::INFINITY; columns + 1];
        let mut before = vec![0; columns + 1];
        let mut is_done = vec![false; columns + 1];
        let mut column = 0;
        while row_of[column] != 0 {
            is_done[column] = true;
            let from = row_of[column];
            let (mut step, mut next) = (f64::INFINITY, 0);
            for other in 1..=columns {
                if is_done[other] {
                    continue;
                }
                let cost = costs[from - 1][other - 1];
                let cost = if cost.is_finite() { cost } else { WORST };
                let reduced = cost - row_potential[from] - column_potential[other];
                if reduced < least[other] {
                    (least[other], before[other]) = (reduced, column);
                }
                if least[other] < step {
                    (step, next) = (least[other], other);
                }
            }
            for other in 0..=columns {
                if is_done[other] {
                    row_potential[row_of[other]] += step;
                    column_potential[other] -= step;
                } else {
                    least[other] -= step;
                }
            }
            column = next;
        }
        while column != 0 {
            row_of[column] = row_of[before[column]];
            column = before[column];
        }
    }
    let mut assigned = vec![None; rows];
    for (column, row) in row_of.iter().enumerate().skip(1).filter(|(_, row)| **row != 0) {
        assigned[row - 1] = Some(column - 1);
    }
    assigned
}

/// Stands for costs that are not finite.
const WORST: f64 = 1e12;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The lowest cost by trying everything.
    fn lowest(costs: &[Vec<f64>], columns: usize) -> f64 {
        fn go(costs: &[Vec<f64>], taken: &mut Vec<bool>, skips: usize) -> f64 {
            let Some((row, rest)) = costs.split_first() else { return 0.0 };
            let mut best = if skips > 0 { go(rest, taken, skips - 1) } else { f64::INFINITY };
            for column in 0..row.len() {
                if !taken[column] {
                    taken[column] = true;
                    best = best.min(row[column] + go(rest, taken, skips));
                    taken[column] = false;
                }
            }
            best
        }
        go(costs, &mut vec![false; columns], costs.len().saturating_sub(columns))
    }

    #[test]
    fn costs_that_are_not_finite_are_avoided() {
        let costs = [vec![f64::NAN, 2.0, 1.0], vec![f64::INFINITY, 1.0, f64::NEG_INFINITY]];
        assert_eq!(assign(&costs, 3), [Some(2), Some(1)]);
        assert_eq!(assign(&[vec![f64::NAN]], 1), [Some(0)]);
    }

    proptest! {
        #[test]
        fn the_sum_is_the_lowest(rows in 0usize..6, columns in 0usize..6, seed in proptest::collection::vec(-9i32..9, 36)) {
            let costs: Vec<Vec<f64>> =
                (0..rows).map(|row| (0..columns).map(|column| f64::from(seed[row * 6 + column])).collect()).collect();
            let assigned = assign(&costs, columns);
            let mut taken: Vec<usize> = assigned.iter().flatten().copied().collect();
            prop_assert_eq!(taken.len(), rows.min(columns));
            taken.sort();
            taken.dedup();
            prop_assert_eq!(taken.len(), rows.min(columns), "no column twice");
            let sum: f64 =
                assigned.iter().enumerate().filter_map(|(row, column)| Some(costs[row][(*column)?])).sum();
            prop_assert_eq!(sum, lowest(&costs, columns));
        }
    }
}
