//! Hand-made pickles: what is refused, and what no file can make the machine do.

use std::path::Path;

use crate::checkpoint::Weights;
use crate::error::ErrorKind;

/// The message of the error about the file with these bytes.
fn refused(bytes: &[u8]) -> String {
    let error = Weights::from_bytes("x.ckpt", bytes.to_vec()).expect_err("a file that is refused");
    assert_eq!(error.kind(), ErrorKind::File, "{error}");
    assert!(error.hint().is_none_or(|hint| !hint.is_empty()));
    error.to_string()
}

/// An archive of `torch.save` with this pickle and a storage `0` of 24 bytes.
fn archive(pickle: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let numbers: Vec<u8> = (1u8..=6).flat_map(|number| f32::from(number).to_le_bytes()).collect();
    for (name, bytes) in [("x/data.pkl", pickle), ("x/byteorder", b"little"), ("x/data/0", &numbers)] {
        archive.start_file(name, options).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

/// The pickle of `{"a": tensor}` with a view of storage `0`, of which it says that it has `count` elements.
fn tensor(count: u8, offset: u8, shape: &[u8], steps: &[u8]) -> Vec<u8> {
    let tuple = |numbers: &[u8]| {
        let items: Vec<u8> = numbers.iter().flat_map(|number| [b'K', *number]).collect();
        [b"(".as_slice(), &items, b"t"].concat()
    };
    let storage = [b"((U\x07storagectorch\nFloatStorage\nU\x010U\x03cpuK".as_slice(), &[count], b"tQ"].concat();
    let view = [storage.as_slice(), &[b'K', offset], &tuple(shape), &tuple(steps), b"\x89N"].concat();
    [b"\x80\x02}U\x01actorch._utils\n_rebuild_tensor_v2\n".as_slice(), &view, b"tRs."].concat()
}

#[test]
fn calls_are_refused_by_opcode_and_name() {
    let cases: [(&[u8], &str, &str); 14] = [
        (b"\x80\x02cposix\nsystem\nX\x04\0\0\0true\x85R.", "GLOBAL at byte 2", "posix.system"),
        (b"cos\nsystem\n(S'true'\ntR.", "GLOBAL at byte 0", "os.system"),
        (b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x011\x85R.", "STACK_GLOBAL at byte 18", "builtins.eval"),
        (b"\x80\x02c__builtin__\nexec\n.", "GLOBAL at byte 2", "__builtin__.exec"),
        (b"(S'true'\nios\nsystem\n.", "INST at byte 9", "os.system"),
        (b"\x80\x02(ctorch\ndevice\nU\x03cpuo.", "OBJ at byte 22", "torch.device"),
        (b"\x80\x02ctorch\ndevice\n)\x81.", "NEWOBJ at byte 17", "torch.device"),
        (b"\x80\x04\x8c\x05torch\x8c\x04Size\x93)}\x92.", "NEWOBJ_EX at byte 18", "torch.Size"),
        (b"\x80\x02ctorch\nSize\n}b.", "BUILD at byte 15", "torch.Size"),
        (b"\x80\x02\x82\x07.", "EXT1 at byte 2", "extension number 7"),
        (b"\x80\x02\x84\x01\0\0\x01.", "EXT4 at byte 2", "extension number 16777217"),
        (b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n.", "GLOBAL at byte 2", "numpy.core.multiarray._reconstruct"),
        (b"Phome\n.", "PERSID at byte 0", "persistent id home"),
        (b"\x80\x02ctorch.hub\nload\n.", "GLOBAL at byte 2", "torch.hub.load"),
    ];
    for (pickle, opcode, name) in cases {
        let wanted = format!("x.ckpt: opcode {opcode} asks for `{name}`, which is not allowed");
        assert_eq!(refused(pickle), wanted);
        // The same in an archive, at another place of the file.
        let inside = refused(&archive(pickle));
        let opcode = opcode.split(' ').next().unwrap_or_default();
        assert!(inside.starts_with(&format!("x.ckpt: opcode {opcode} at byte")), "{inside}");
        assert!(inside.ends_with(&format!("asks for `{name}`, which is not allowed")), "{inside}");
    }
}

#[test]
fn faults_are_named_with_their_place() {
    let cases: [(&[u8], &str); 12] = [
        (b"\x80\x06N.", "a pickle of protocol 6; the newest that is known is 5"),
        (b"\x80\x02N", "its pickle ends at byte 3 in the middle of a value"),
        (b"\x80\x02X\xff\xff\xff\x7fab", "its pickle ends at byte 9"),
        (b"\x80\x02\x8d\xff\xff\xff\xff\xff\xff\xff\xffab", "its pickle ends at byte 13"),
        (b"\x80\x02?.", "not a pickle: 0x3f at byte 2 is not an opcode"),
        (b"\x80\x02t.", "opcode TUPLE at byte 2 needs a mark, and none is open"),
        (b"\x80\x02(N\x86.", "opcode TUPLE2 at byte 4 takes more values than there are"),
        (b"\x80\x02]N\x86R.", "opcode REDUCE at byte 5 takes more values than there are"),
        (b"\x80\x02N)R.", "opcode REDUCE at byte 4 calls what is not a function"),
        (b"\x80\x02h\x07.", "opcode BINGET at byte 2 recalls what was never put"),
        (b"\x80\x02}N}N}s.", "a Python pickle that `torch.save` did not write"),
        (b"\x80\x05\x97.", "opcode NEXT_BUFFER at byte 2 takes a buffer from outside of the file"),
    ];
    for (pickle, wanted) in cases {
        let message = refused(pickle);
        assert!(message.contains(wanted), "{message}");
    }
    assert!(refused(&archive(b"\x80\x02NQ.")).contains("opcode BINPERSID at byte"), "not a storage");
    assert!(refused(&archive(b"\x80\x02}.")).contains("no tensors with names in this file"));
}

#[test]
fn values_that_hold_themselves_and_deep_ones_are_data() {
    // A list in itself, and tuples nested a hundred thousand times.
    assert!(refused(&archive(b"\x80\x02]q\0h\0a.")).contains("no tensors with names"));
    let deep = [b"\x80\x02N".as_slice(), &vec![0x85; 100_000], b"."].concat();
    assert!(refused(&archive(&deep)).contains("no tensors with names"));
    // A list of two of itself, thirty times over: a walk through all of it would take 2^30 steps.
    let mut wide = b"\x80\x02N".to_vec();
    (0..30).for_each(|_| wide.extend(b"2\x86"));
    wide.push(b'.');
    assert!(refused(&archive(&wide)).contains("no tensors with names"));
}

#[test]
fn bombs_are_refused_before_they_fill_the_memory() {
    let values = [b"\x80\x02".as_slice(), &vec![b']'; (1 << 22) + 1], b"."].concat();
    assert!(refused(&archive(&values)).contains("more than 4194304 values"));
    // A list that is extended by all of itself, again and again.
    let mut items = b"\x80\x02(".to_vec();
    items.extend(vec![b'N'; 1 << 16]);
    items.extend(b"lq\0");
    (0..300).for_each(|_| items.extend(b"c__builtin__\nlist\nh\0\x85R"));
    items.push(b'.');
    assert!(refused(&archive(&items)).contains("more than 16777216 items"));
}

#[test]
fn views_are_held_against_their_storage() {
    let fetch = |pickle: &[u8], shape: &[usize]| {
        Weights::from_bytes("x.ckpt", archive(pickle)).unwrap().fetch("a", shape).unwrap().data
    };
    assert_eq!(fetch(&tensor(6, 0, &[2, 3], &[3, 1]), &[2, 3]), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    assert_eq!(fetch(&tensor(6, 1, &[2, 2], &[1, 3]), &[2, 2]), [2.0, 5.0, 3.0, 6.0]);
    assert_eq!(fetch(&tensor(6, 5, &[3], &[0]), &[3]), [6.0; 3]);
    for (offset, shape, steps) in [(1, [2, 3], [3, 1]), (0, [2, 3], [4, 1]), (0, [255, 255], [255, 255])] {
        let message = refused(&archive(&tensor(6, offset, &shape, &steps)));
        assert!(
            message.contains("calls `torch._utils._rebuild_tensor_v2` with arguments that do not fit"),
            "{message}"
        );
    }
    // More elements than the archive has, and a storage that is not there.
    let message = refused(&archive(&tensor(7, 0, &[7], &[1])));
    assert_eq!(message, "x.ckpt: storage `0` has 24 bytes, fewer than its pickle says");
    let mut missing = tensor(6, 0, &[6], &[1]);
    let key = missing.windows(3).position(|bytes| bytes == b"U\x010").unwrap();
    missing[key + 2] = b'1';
    let message = refused(&archive(&missing));
    assert_eq!(message, "x.ckpt: its pickle names storage `1`, which is not in the archive");
    // Repeated elements beyond what the size of the file allows.
    let huge = tensor(6, 0, &[255; 8], &[0; 8]);
    assert!(refused(&archive(&huge)).contains("is impossible"));
}

#[test]
fn other_containers_are_told_apart() {
    let mut tar = vec![0; 512];
    tar[257..262].copy_from_slice(b"ustar");
    assert!(refused(&tar).contains("a tar archive, as `PyTorch` wrote before 0.1.2"));
    assert!(refused(b"<html>").contains("not a pickle: 0x3c at byte 0 is not an opcode"));
    assert!(refused(b"").contains("the file is empty"));
    assert!(refused(b"version https://git-lfs.github.com/spec/v1\n").contains("Git LFS pointer"));
    // A safetensors file whose header has 640 bytes begins as a pickle of protocol 2 does.
    let json = format!("{{{:638}}}", "");
    let file = [&640u64.to_le_bytes(), json.as_bytes()].concat();
    assert_eq!(Weights::from_bytes("x.bin", file).unwrap().names().count(), 0);
    assert!(super::has_suffix(Path::new("a/b.CKPT")) && !super::has_suffix(Path::new("a/b.safetensors")));
}
