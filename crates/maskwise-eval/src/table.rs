use crate::{EvalError, MaskRow, PointsCell};
use maskwise::atomic::write_atomic;
use std::fmt::{self, Display, Formatter};
use std::path::Path;

/// A table to be written as Markdown, CSV and LaTeX.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table of the grid of Table 8.
    pub fn of_points(cells: &[PointsCell]) -> Self {
        let columns = [
            "t_pos",
            "t_neg",
            "points",
            "n",
            "gIoU [95 %]",
            "cIoU [95 %]",
            "positives inside",
            "negatives outside",
        ];
        let share = |share: Option<f64>| share.map_or_else(|| "–".to_owned(), |share| format!("{share:.3}"));
        let row = |cell: &PointsCell| {
            vec![
                cell.t_pos.to_string(),
                cell.t_neg.to_string(),
                cell.num_points.to_string(),
                cell.count.to_string(),
                cell.giou.to_string(),
                cell.ciou.to_string(),
                share(cell.positives_inside),
                share(cell.negatives_outside),
            ]
        };
        Self::new(&columns, cells.iter().map(row))
    }

    /// A table of the rows of Table 6 or Table 1.
    pub fn of_masks(rows: &[MaskRow]) -> Self {
        let row = |row: &MaskRow| {
            vec![row.mask_from.to_owned(), row.count.to_string(), row.giou.to_string(), row.ciou.to_string()]
        };
        Self::new(&["mask from", "n", "gIoU [95 %]", "cIoU [95 %]"], rows.iter().map(row))
    }

    fn new(columns: &[&str], rows: impl Iterator<Item = Vec<String>>) -> Self {
        Self { columns: columns.iter().map(|&column| column.to_owned()).collect(), rows: rows.collect() }
    }

    fn lines(&self) -> impl Iterator<Item = &Vec<String>> {
        std::iter::once(&self.columns).chain(&self.rows)
    }

    /// As comma-separated values.
    pub fn to_csv(&self) -> String {
        let field = |text: &String| match text.contains([',', '"', '\n']) {
            true => format!("\"{}\"", text.replace('"', "\"\"")),
            false => text.clone(),
        };
        self.lines().map(|line| line.iter().map(field).collect::<Vec<_>>().join(",") + "\n").collect()
    }

    /// As a LaTeX `tabular` with the rules of `booktabs`.
    pub fn to_latex(&self) -> String {
        let escaped = |text: &String| {
            text.chars().fold(String::new(), |mut all, letter| {
                if matches!(letter, '&' | '%' | '_' | '#' | '$' | '{' | '}') {
                    all.push('\\');
                }
                all.push(letter);
                all
            })
        };
        let line = |line: &Vec<String>| line.iter().map(escaped).collect::<Vec<_>>().join(" & ") + " \\\\\n";
        let rows: String = self.rows.iter().map(line).collect();
        format!(
            "\\begin{{tabular}}{{{}}}\n\\toprule\n{}\\midrule\n{rows}\\bottomrule\n\\end{{tabular}}\n",
            "l".repeat(self.columns.len()),
            line(&self.columns)
        )
    }

    /// Writes `NAME.md`, `NAME.csv` and `NAME.tex` into `folder`, which is made if it is not there.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn write(&self, folder: &Path, name: &str) -> Result<(), EvalError> {
        std::fs::create_dir_all(folder).map_err(|error| EvalError::io(folder, error))?;
        for (ending, text) in [("md", self.to_string()), ("csv", self.to_csv()), ("tex", self.to_latex())] {
            write_atomic(&folder.join(format!("{name}.{ending}")), |writer| {
                writer.write_all(text.as_bytes())
            })?;
        }
        Ok(())
    }
}

impl Display for Table {
    /// As Markdown.
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let line = |cells: &[String]| format!("| {} |", cells.join(" | "));
        writeln!(formatter, "{}", line(&self.columns))?;
        writeln!(formatter, "|{}", "---|".repeat(self.columns.len()))?;
        self.rows.iter().try_for_each(|row| writeln!(formatter, "{}", line(row)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_in_three_languages() {
        let rows =
            vec![vec!["a, \"b\"".to_owned(), "1".to_owned()], vec!["c_d & 5 %".to_owned(), "2".to_owned()]];
        let table = Table::new(&["name", "n"], rows.into_iter());
        assert_eq!(table.to_string(), "| name | n |\n|---|---|\n| a, \"b\" | 1 |\n| c_d & 5 % | 2 |\n");
        assert_eq!(table.to_csv(), "name,n\n\"a, \"\"b\"\"\",1\nc_d & 5 %,2\n");
        assert!(table.to_latex().contains("c\\_d \\& 5 \\% & 2 \\\\\n\\bottomrule"), "{}", table.to_latex());
    }
}
