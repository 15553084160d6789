//! The activations of all tokens between two layers: in memory, or in a temporary file that has no name.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::Error;
use super::matrix::Matrix;

/// One row of `width` numbers per token.
pub struct Stream {
    width: usize,
    tokens: usize,
    storage: Storage,
}

enum Storage {
    Memory(Vec<f32>),
    File { file: File, folder: PathBuf },
}

/// Numbers that are converted to bytes at once.
const PIECE: usize = 64 * 1024;

impl Stream {
    /// Zeros for so many tokens, in memory if they take at most `limit` bytes, else in a file in `folder`.
    pub(super) fn new(tokens: usize, width: usize, limit: u64, folder: &Path) -> Result<Self, Error> {
        let bytes = tokens as u64 * width as u64 * size_of::<f32>() as u64;
        let storage = if bytes <= limit {
            Storage::Memory(vec![0.0; tokens * width])
        } else {
            let failed = |action| move |error| Error::Spill { folder: folder.to_owned(), action, error };
            let file = tempfile::tempfile_in(folder).map_err(failed("make"))?;
            let available = weightmill_formats::output::free_space(folder).unwrap_or(bytes);
            if available < bytes {
                let text = format!("it takes {bytes} bytes and {available} are free");
                let error = std::io::Error::new(std::io::ErrorKind::StorageFull, text);
                return Err(failed("make room for")(error));
            }
            file.set_len(bytes).map_err(failed("make room for"))?;
            Storage::File { file, folder: folder.to_owned() }
        };
        Ok(Self { width, tokens, storage })
    }

    /// Number of tokens.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Bytes in the temporary file, 0 if there is none.
    pub fn spilled_bytes(&self) -> u64 {
        match &self.storage {
            Storage::Memory(_) => 0,
            Storage::File { .. } => (self.tokens * self.width * size_of::<f32>()) as u64,
        }
    }

    /// The rows of these tokens.
    pub fn read(&mut self, tokens: Range<usize>) -> Result<Matrix, Error> {
        let width = self.width;
        match &mut self.storage {
            Storage::Memory(data) => {
                Ok(Matrix { columns: width, data: data[tokens.start * width..tokens.end * width].to_vec() })
            }
            Storage::File { file, folder } => {
                let mut matrix = Matrix::zeros(tokens.len(), width);
                let read = (|| {
                    let mut bytes = vec![0; PIECE * size_of::<f32>()];
                    file.seek(SeekFrom::Start((tokens.start * width * size_of::<f32>()) as u64))?;
                    for piece in matrix.data.chunks_mut(PIECE) {
                        let bytes = &mut bytes[..size_of_val(piece)];
                        file.read_exact(bytes)?;
                        let numbers = bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
                        piece.iter_mut().zip(numbers).for_each(|(number, read)| *number = read);
                    }
                    Ok(())
                })();
                read.map_err(|error| Error::Spill { folder: folder.clone(), action: "read", error })?;
                Ok(matrix)
            }
        }
    }

    /// Replaces the rows of the tokens from `first` on.
    pub fn write(&mut self, first: usize, rows: &Matrix) -> Result<(), Error> {
        let start = first * self.width;
        match &mut self.storage {
            Storage::Memory(data) => data[start..start + rows.data.len()].copy_from_slice(&rows.data),
            Storage::File { file, folder } => {
                let write = (|| {
                    file.seek(SeekFrom::Start((start * size_of::<f32>()) as u64))?;
                    for piece in rows.data.chunks(PIECE) {
                        let bytes: Vec<u8> = piece.iter().flat_map(|number| number.to_le_bytes()).collect();
                        file.write_all(&bytes)?;
                    }
                    Ok(())
                })();
                write.map_err(|error| Error::Spill { folder: folder.clone(), action: "write", error })?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_holds_what_memory_does() {
        let folder = std::env::temp_dir();
        let rows = Matrix { columns: 3, data: (0..6).map(|n| n as f32 / 7.0).collect() };
        for limit in [u64::MAX, 0] {
            let mut stream = Stream::new(5, 3, limit, &folder).unwrap();
            stream.write(2, &rows).unwrap();
            assert_eq!(stream.read(2..4).unwrap(), rows);
            assert_eq!(stream.read(0..5).unwrap().data[12..], [0.0; 3]);
            assert_eq!(stream.spilled_bytes() > 0, limit == 0);
        }
    }
}
