//! Address arithmetic.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Function, Want, Wrong, function, variadic, wrong};
use crate::bake::value::Value;

const PREFIX: super::Parameter = ("prefix", Want::Text);

pub(super) const FUNCTIONS: &[Function] = &[
    function("cidrhost", &[PREFIX, ("hostnum", Want::Number)], |call| {
        let network = Network::read(call.text(0))?;
        let number = i128::from(call.whole(1)?);
        let hosts = network.bits - network.length;
        let count = if hosts >= 127 { i128::MAX } else { 1i128 << hosts };
        let at = if number < 0 { count + number } else { number };
        match (0..count).contains(&at) {
            true => Ok(Value::string(network.address(network.base | at.unsigned_abs()).to_string())),
            false => {
                Err(format!("prefix of {} does not accommodate a host numbered {number}", network.length)
                    .into())
            }
        }
    }),
    function("cidrnetmask", &[PREFIX], |call| {
        let network = Network::read(call.text(0))?;
        match network.bits {
            32 => Ok(Value::string(network.address(network.mask(network.length)).to_string())),
            _ => Err(wrong(0, "IPv6 addresses cannot have a netmask")),
        }
    }),
    function("cidrsubnet", &[PREFIX, ("newbits", Want::Number), ("netnum", Want::Number)], |call| {
        let network = Network::read(call.text(0))?;
        let length = network.longer(call.whole(1)?, 1)?;
        let number = call.whole(2)?;
        let places = length - network.length;
        let fits = u128::try_from(number).ok().filter(|number| places >= 64 || *number < 1 << places);
        let number = fits.ok_or_else(|| {
            format!("prefix extension of {places} does not accommodate a subnet numbered {number}")
        })?;
        let shift = network.bits - length;
        let base = network.base | number.checked_shl(shift).unwrap_or(0);
        Ok(Value::string(format!("{}/{length}", network.address(base))))
    }),
    variadic("cidrsubnets", &[PREFIX], ("newbits", Want::Number), |call| {
        let network = Network::read(call.text(0))?;
        let mut next = network.base;
        let mut subnets = Vec::new();
        for at in 1..call.arguments.len() {
            let length = network.longer(call.whole(at)?, at)?;
            let size = 1u128.checked_shl(network.bits - length).unwrap_or(0);
            let aligned = next.div_ceil(size.max(1)).saturating_mul(size.max(1));
            if aligned & network.mask(network.length) != network.base {
                return Err(wrong(
                    at,
                    format!("not enough remaining address space for a subnet with a prefix of {length} bits"),
                ));
            }
            subnets.push(format!("{}/{length}", network.address(aligned)));
            next = aligned.saturating_add(size);
        }
        Ok(Value::strings(subnets))
    }),
];

struct Network {
    base: u128,
    bits: u32,
    length: u32,
}

impl Network {
    fn read(text: &str) -> Result<Self, Wrong> {
        let invalid = || wrong(0, format!("invalid CIDR expression: invalid CIDR address: {text}"));
        let (address, length) = text.split_once('/').ok_or_else(invalid)?;
        let address: IpAddr = address.parse().map_err(|_| invalid())?;
        let (base, bits) = match address {
            IpAddr::V4(address) => (u128::from(u32::from(address)), 32),
            IpAddr::V6(address) => (u128::from(address), 128),
        };
        let length = length.parse().ok().filter(|length| *length <= bits).ok_or_else(invalid)?;
        let mut network = Self { base, bits, length };
        network.base &= network.mask(length);
        Ok(network)
    }

    fn mask(&self, length: u32) -> u128 {
        let all = if self.bits == 128 { u128::MAX } else { u128::from(u32::MAX) };
        all & all.checked_shl(self.bits - length).unwrap_or(0)
    }

    fn longer(&self, by: i64, argument: usize) -> Result<u32, Wrong> {
        let by = u32::try_from(by).map_err(|_| wrong(argument, "must not be negative"))?;
        let length = self.length.saturating_add(by);
        match length > self.bits {
            true => Err(wrong(
                argument,
                format!("insufficient address space to extend prefix of {} by {by}", self.length),
            )),
            false => Ok(length),
        }
    }

    fn address(&self, value: u128) -> IpAddr {
        match self.bits {
            32 => IpAddr::V4(Ipv4Addr::from(u32::try_from(value & u128::from(u32::MAX)).unwrap_or(0))),
            _ => IpAddr::V6(Ipv6Addr::from(value)),
        }
    }
}
