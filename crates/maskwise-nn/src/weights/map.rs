//! Files mapped into memory: the one place outside of the kernels that needs `unsafe`.

use maskwise_kernels::int8::SharedBytes;
use memmap2::Mmap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// A whole file, mapped read-only. Its pages are read when they are used, and given back when memory is short.
#[derive(Debug)]
pub(super) struct FileMap(Mmap);

impl FileMap {
    #[allow(unsafe_code)]
    pub(super) fn new(file: &File) -> io::Result<Self> {
        // SAFETY: the map is private to this process and read-only. Whoever changes the file while a model runs on it changes the model's
        // weights, which are plain numbers of which any value is sound; whoever cuts it off makes the process end with a bus error, as any
        // program that runs on mapped files. The files that are mapped are written whole and then renamed, never changed in place.
        let map = unsafe { Mmap::map(file) }?;
        // So that the first question does not read the file page by page. A system that cannot do it loses speed only.
        #[cfg(unix)]
        let _ = map.advise(memmap2::Advice::WillNeed);
        Ok(Self(map))
    }

    /// A part of the file; none where it ends beyond it.
    pub(super) fn part(self: &Arc<Self>, range: Range<usize>) -> Option<SharedBytes> {
        self.0.get(range.clone())?;
        Some(Arc::new(Part { map: self.clone(), range }))
    }
}

struct Part {
    map: Arc<FileMap>,
    /// Within the map, as [`FileMap::part`] checked.
    range: Range<usize>,
}

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        &self.map.0[self.range.clone()]
    }
}
