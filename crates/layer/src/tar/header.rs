//! One 512-byte header block: where its fields lie and how its numbers are written.

/// Everything in a tar starts at a multiple of this many bytes.
pub(crate) const BLOCK: usize = 512;

/// Returns the number of bytes from the end of content of `size` bytes to the next block.
pub(crate) fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}

/// A field of the header: first byte and length.
#[derive(Clone, Copy)]
pub(crate) struct Field(pub(crate) usize, pub(crate) usize);

pub(crate) const NAME: Field = Field(0, 100);
pub(crate) const MODE: Field = Field(100, 8);
pub(crate) const UID: Field = Field(108, 8);
pub(crate) const GID: Field = Field(116, 8);
pub(crate) const SIZE: Field = Field(124, 12);
pub(crate) const MTIME: Field = Field(136, 12);
const CHECKSUM: Field = Field(148, 8);
const TYPE: usize = 156;
pub(crate) const LINK: Field = Field(157, 100);
const MAGIC: Field = Field(257, 8);
pub(crate) const MAJOR: Field = Field(329, 8);
pub(crate) const MINOR: Field = Field(337, 8);
pub(crate) const PREFIX: Field = Field(345, 155);
/// star keeps times behind a shorter prefix and signs with `tar` at the end of the block.
const STAR_PREFIX: Field = Field(345, 131);
const STAR_MAGIC: Field = Field(508, 4);

/// A header that is read.
pub(crate) struct Header<'a>(&'a [u8; BLOCK]);

impl<'a> Header<'a> {
    /// Returns a view of `block` where its checksum is right.
    ///
    /// # Errors
    /// The reason as text.
    pub(crate) fn new(block: &'a [u8; BLOCK]) -> Result<Self, &'static str> {
        let header = Self(block);
        let stored = header.number(CHECKSUM)?;
        // Some old programs summed signed bytes.
        let unsigned: i64 = header.summed().map(i64::from).sum();
        let signed: i64 = header.summed().map(|byte| i64::from(byte.cast_signed())).sum();
        if stored != unsigned && stored != signed {
            return Err("the checksum of the header is wrong");
        }
        Ok(header)
    }

    /// Returns a view of a block that follows a header and has numbers like one, but no checksum.
    pub(crate) fn unchecked(block: &'a [u8; BLOCK]) -> Self {
        Self(block)
    }

    /// Returns the bytes that the checksum is over: its own field counts as spaces.
    fn summed(&self) -> impl Iterator<Item = u8> {
        let own = CHECKSUM.0..CHECKSUM.0 + CHECKSUM.1;
        self.0.iter().enumerate().map(move |(at, byte)| if own.contains(&at) { b' ' } else { *byte })
    }

    pub(crate) fn type_flag(&self) -> u8 {
        self.0[TYPE]
    }

    pub(crate) fn byte(&self, at: usize) -> u8 {
        self.0[at]
    }

    /// Whether nothing was written into a field.
    pub(crate) fn is_empty(&self, field: Field) -> bool {
        self.bytes(field).iter().all(|byte| *byte == 0)
    }

    /// Returns a field of text up to its first NUL.
    pub(crate) fn text(&self, field: Field) -> &'a [u8] {
        let bytes = self.bytes(field);
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        &bytes[..end]
    }

    /// Returns the whole name: prefix and name where the header has a prefix.
    pub(crate) fn name(&self) -> Vec<u8> {
        let prefix = match (self.bytes(MAGIC), self.bytes(STAR_MAGIC)) {
            ([b'u', b's', b't', b'a', b'r', 0, ..], b"tar\0") => self.text(STAR_PREFIX),
            ([b'u', b's', b't', b'a', b'r', 0, ..], _) => self.text(PREFIX),
            // GNU's magic ends in two spaces; it has times where the prefix would be.
            _ => &[],
        };
        if prefix.is_empty() {
            return self.text(NAME).to_vec();
        }
        [prefix, b"/", self.text(NAME)].concat()
    }

    /// Returns a number: octal digits, or base 256 where the first bit is set.
    ///
    /// # Errors
    /// The reason as text.
    pub(crate) fn number(&self, field: Field) -> Result<i64, &'static str> {
        let bytes = self.bytes(field);
        if bytes[0] & 0x80 != 0 { base_256(bytes) } else { octal(bytes) }
    }

    fn bytes(&self, field: Field) -> &'a [u8] {
        &self.0[field.0..field.0 + field.1]
    }
}

fn octal(bytes: &[u8]) -> Result<i64, &'static str> {
    let digits = bytes.trim_ascii_start();
    let end = digits.iter().position(|byte| matches!(byte, 0 | b' ')).unwrap_or(digits.len());
    let mut number = 0_i64;
    for digit in &digits[..end] {
        if !matches!(digit, b'0'..=b'7') {
            return Err("a number in the header is not octal");
        }
        // Twelve octal digits are 36 bits.
        number = number << 3 | i64::from(digit - b'0');
    }
    Ok(number)
}

fn base_256(bytes: &[u8]) -> Result<i64, &'static str> {
    // Two's complement, big-endian; the first bit only says that this form is used, the second is the sign.
    let negative = bytes[0] & 0x40 != 0;
    let mut number = if negative { -1_i128 } else { 0 };
    for (at, byte) in bytes.iter().enumerate() {
        let byte = match at {
            0 if negative => byte | 0x80,
            0 => byte & 0x7f,
            _ => *byte,
        };
        number = number << 8 | i128::from(byte);
    }
    i64::try_from(number).map_err(|_| "a number in the header has more than 64 bits")
}

/// A header that is written.
pub(crate) struct HeaderBuilder([u8; BLOCK]);

impl HeaderBuilder {
    /// Starts a ustar header of the given type.
    pub(crate) fn new(type_flag: u8) -> Self {
        let mut builder = Self([0; BLOCK]);
        builder.0[TYPE] = type_flag;
        builder.text(MAGIC, b"ustar\x0000");
        builder
    }

    /// Sets a field of text, cut to its length.
    pub(crate) fn text(&mut self, field: Field, text: &[u8]) {
        let count = text.len().min(field.1);
        self.0[field.0..field.0 + count].copy_from_slice(&text[..count]);
    }

    /// Sets a number in octal digits. Returns whether it fits; where not, the field becomes 0.
    pub(crate) fn number(&mut self, field: Field, number: i64) -> bool {
        let digits = field.1 - 1;
        let fits = number >= 0 && number >> (3 * digits) == 0;
        let mut rest = if fits { number } else { 0 };
        for at in (0..digits).rev() {
            self.0[field.0 + at] = b'0' + (rest & 7) as u8;
            rest >>= 3;
        }
        fits
    }

    /// Returns the finished block.
    pub(crate) fn finish(mut self) -> [u8; BLOCK] {
        self.0[CHECKSUM.0..CHECKSUM.0 + CHECKSUM.1].fill(b' ');
        let sum: i64 = self.0.iter().copied().map(i64::from).sum();
        // Six digits, NUL, space: the form every implementation writes.
        self.number(Field(CHECKSUM.0, 7), sum);
        self.0[CHECKSUM.0 + 6] = 0;
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(field: &[u8], expected: Result<i64, ()>) {
        let result = if field[0] & 0x80 != 0 { base_256(field) } else { octal(field) };
        assert_eq!(result.map_err(|_| ()), expected, "{field:x?}");
    }

    #[test]
    fn numbers_of_all_dialects_are_read() {
        check(b"0000644\0", Ok(0o644));
        check(b"   644 \0", Ok(0o644));
        check(b"\0\0\0\0\0\0\0\0", Ok(0));
        check(b"77777777", Ok(0o77_777_777));
        check(b"0000648\0", Err(()));
        check(b"-0000001", Err(()));
        check(b"\x80\0\0\0\0\0\x01\0", Ok(256));
        check(b"\xff\xff\xff\xff\xff\xff\xff\xff", Ok(-1));
        check(b"\x80\0\0\0\x02\0\0\0\0\0\0\0", Ok(0x0200_0000_0000_0000));
        check(b"\x80\x01\0\0\0\0\0\0\0\0\0\0", Err(()));
    }

    #[test]
    fn what_is_built_is_read_back() {
        let mut builder = HeaderBuilder::new(b'0');
        builder.text(NAME, b"a/b");
        assert!(builder.number(UID, 0o7_777_777));
        assert!(!builder.number(GID, 0o10_000_000));
        assert!(!builder.number(MTIME, -1));
        let block = builder.finish();
        let header = Header::new(&block).unwrap();
        assert_eq!(header.name(), b"a/b");
        assert_eq!(header.number(UID), Ok(0o7_777_777));
        assert_eq!(header.number(GID), Ok(0));
    }

    #[test]
    fn a_changed_byte_is_noticed() {
        let mut block = HeaderBuilder::new(b'0').finish();
        block[3] ^= 1;
        assert!(Header::new(&block).is_err());
    }

    #[test]
    fn content_is_padded_to_blocks() {
        assert_eq!([padding(0), padding(1), padding(512), padding(513)], [0, 511, 0, 511]);
    }
}
