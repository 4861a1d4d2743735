use super::*;

const SYN: Syn = Syn { ports: u32::from_ne_bytes([0x9c, 0x40, 0x01, 0xbb]), sequence: u32::MAX };

fn bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// RFC 1071 over bytes, as a receiver does it: a right checksum makes it 0.
fn receiver(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[test]
fn answers_an_ipv4_syn() {
    let (source, destination) = ([192, 0, 2, 7], [198, 51, 100, 9]);
    for sequence in [0, 1, 0xffff_ffff, 0x1234_5678] {
        let cookie = Cookie { sequence, segment: 1_460 };
        let [source_word, destination_word] = [source, destination].map(u32::from_ne_bytes);
        let packet = bytes(&v4(source_word, destination_word, SYN, cookie));
        assert_eq!(packet.len(), 44);
        let (ip, tcp) = packet.split_at(20);
        assert_eq!(ip[..4], [0x45, 0, 0, 44]);
        assert_eq!((&ip[12..16], &ip[16..20]), (&destination[..], &source[..]), "turned round");
        assert_eq!(receiver(ip), 0);
        assert_eq!(tcp[..4], [0x01, 0xbb, 0x9c, 0x40], "ports turned round");
        assert_eq!(tcp[4..8], sequence.to_be_bytes());
        assert_eq!(tcp[8..12], [0; 4], "one beyond the last number there is");
        assert_eq!(tcp[12..14], [0x60, 0x12]);
        assert_eq!(tcp[20..24], [2, 4, 0x05, 0xb4]);
        let pseudo = [&destination[..], &source, &[0, 6, 0, 24]].concat();
        assert_eq!(receiver(&[&pseudo, tcp].concat()), 0);
    }
}

#[test]
fn answers_an_ipv6_syn_and_never_offers_more_than_a_frame_holds() {
    let source: [u8; 16] = core::array::from_fn(|idx| 0xf0 + idx as u8);
    let destination: [u8; 16] = core::array::from_fn(|idx| 7 * idx as u8);
    let words = |octets: [u8; 16]| -> [u32; 4] {
        core::array::from_fn(|idx| {
            u32::from_ne_bytes([
                octets[idx * 4],
                octets[idx * 4 + 1],
                octets[idx * 4 + 2],
                octets[idx * 4 + 3],
            ])
        })
    };
    for (segment, offered) in [(1_220, 1_220u16), (8_940, 1_440)] {
        let cookie = Cookie { sequence: 0xdead_beef, segment };
        let packet = bytes(&v6(words(source), words(destination), SYN, cookie));
        assert_eq!(packet.len(), 64);
        let (ip, tcp) = packet.split_at(40);
        assert_eq!(ip[..8], [0x60, 0, 0, 0, 0, 24, 6, 64]);
        assert_eq!((&ip[8..24], &ip[24..40]), (&destination[..], &source[..]));
        assert_eq!(tcp[22..24], offered.to_be_bytes());
        let pseudo = [&destination[..], &source, &[0, 6, 0, 24]].concat();
        assert_eq!(receiver(&[&pseudo, tcp].concat()), 0);
    }
}
