//! Pickles that are no checkpoints, or more than one: refused without running anything.
#![allow(missing_docs)]

mod bytes;
mod checkpoint;

use checkpoint::*;
use weightmill_formats::Kind;
use weightmill_formats::pickle::Defect;

#[test]
fn names_outside_the_table_are_refused() {
    for (module, name) in [
        ("os", "system"),
        ("builtins", "eval"),
        ("torch", "load"),
        ("torch._utils", "_rebuild_tensor"),
        ("torch", "ComplexFloatStorage"),
        ("collections", "OrderedDict.fromkeys"),
        ("torch", "os.system"),
        ("", ""),
    ] {
        let before = Pickle::new().raw(b"}").text("t");
        let result = with_pickle(before.clone().global(module, name));
        let at = after(&before);
        assert_defect!(result, Kind::Pickle(Defect::Global { name: n }) if *n == format!("{module}.{name}"), None, at);
        let stacked = Pickle::new().text(module).text(name);
        let at = after(&stacked);
        assert_defect!(with_pickle(stacked.raw(b"\x93")), Kind::Pickle(Defect::Global { .. }), None, at);
    }
    // A name of any length, and control characters in it, do no harm to the message.
    let message = with_pickle(Pickle::new().text(&"m".repeat(1 << 20)).text("\x1b[31m").raw(b"\x93")).unwrap_err();
    assert!(message.to_string().len() < 1000 && !message.to_string().contains('\x1b'));
}

#[test]
fn instructions_that_make_objects_of_other_classes_are_refused() {
    // INST, OBJ, NEWOBJ, NEWOBJ_EX, EXT1, PERSID, BUILDs of anything, text integers, POP, DUP, bytes, sets
    for opcode in *b"io\x81\x92\x82PI0120dlSVFLTBC\x8e\x8f\x90\x91\x96\x97\x98\x8b\x8d\xff" {
        let result = with_pickle(Pickle::new().raw(b"}").raw(&[opcode]).raw(&[0; 8]));
        assert_defect!(result, Kind::Pickle(Defect::Opcode { opcode: o }) if *o == opcode, None, Some(PICKLE + 3));
    }
}

#[test]
fn calls_with_other_arguments_are_refused() {
    let tensor = |p: Pickle| p.tensor(FLOATS, 0, &[4], &[1]);
    for (name, pickle) in [
        ("text called", Pickle::new().text("t").raw(b")R")),
        ("arguments no tuple", Pickle::new().global("collections", "OrderedDict").raw(b"]R")),
        ("dictionary of a list", Pickle::new().global("collections", "OrderedDict").raw(b"]\x85R")),
        ("size of a number", Pickle::new().global("torch", "Size").integer(3).raw(b"\x85R")),
        ("parameter of a list", Pickle::new().global("torch._utils", "_rebuild_parameter").raw(b"]\x85R")),
        ("tensor of nothing", Pickle::new().global("torch._utils", "_rebuild_tensor_v2").raw(b")R")),
        ("a class called", Pickle::new().global("torch", "FloatStorage").raw(b")R")),
        ("a type called", Pickle::new().global("torch", "float32").raw(b")R")),
        ("storage of a text", Pickle::new().text("storage").raw(b"Q")),
        ("storage of another class", Pickle::new().raw(b"(").storage("float32", "0", 4)),
        ("storage of negative length", Pickle::new().storage("FloatStorage", "0", -1)),
        ("storage too long to count", Pickle::new().storage("FloatStorage", "0", i64::MAX)),
        ("attributes of a tensor", tensor(Pickle::new()).raw(b"}b")),
        ("elements of a tensor", tensor(Pickle::new()).raw(b"Na")),
        ("entries of a list", Pickle::new().raw(b"]NNs")),
        ("an odd number of entries", Pickle::new().raw(b"}(Nu")),
        ("nothing to remember", Pickle::new().raw(b"q\0")),
        ("nothing remembered", Pickle::new().raw(b"h\0")),
        ("marks never set", Pickle::new().raw(b"t")),
        ("elements below the mark", Pickle::new().raw(b"N(\x85")),
        ("pop below the mark", Pickle::new().raw(b"]N(a")),
        ("nothing at the end", Pickle::new()),
        ("two at the end", Pickle::new().raw(b"}}")),
        ("an open mark at the end", Pickle::new().raw(b"(}")),
        ("more after the end", Pickle::new().raw(b"}.")),
        ("an integer of 72 bits", Pickle::new().raw(b"\x8a\x09\0\0\0\0\0\0\0\0\x01")),
        ("a name without an end", Pickle::new().raw(b"c").raw(&[b'x'; 300])),
        ("a name that is no text", Pickle::new().raw(b"NN\x93")),
    ] {
        match with_pickle(pickle) {
            Err(e) if matches!(e.kind(), Kind::Pickle(Defect::Program(_))) => {
                assert!(e.offset().is_some_and(|at| at >= PICKLE), "{name}: {e}")
            }
            other => panic!("{name}: {other:?}"),
        }
    }
    let result = with_pickle(Pickle(vec![0x80, 1]));
    assert_defect!(result, Kind::Pickle(Defect::Protocol { found: 1 }), None, Some(PICKLE));
}

#[test]
fn every_truncation_of_a_pickle_is_an_error() {
    let pickle = Pickle::new().raw(b"}").text("t").tensor(FLOATS, 0, &[4], &[1]).raw(b"s").end();
    assert!(read(&archive(&pickle, &[("0", &[0; 16])])).is_ok());
    for length in 0..pickle.len() {
        assert!(read(&archive(&pickle[..length], &[("0", &[0; 16])])).is_err(), "{length}");
    }
}

#[test]
fn counts_and_depths_are_bounded() {
    let many = |what: &'static str, pickle: Pickle| {
        let error = with_pickle(pickle).unwrap_err();
        assert!(matches!(error.kind(), Kind::Pickle(Defect::TooMany { what: w, .. }) if *w == what), "{error}");
    };
    many("values", Pickle::new().raw(&vec![b']'; (1 << 22) + 1]));
    many("open collections", Pickle::new().raw(&[b'('; 2000]));
    let remembered = (0..(1u32 << 21) + 1).fold(Pickle::new().raw(b"N"), |p, n| p.raw(b"r").raw(&n.to_le_bytes()));
    many("remembered values", remembered);
    many("dimensions in a tensor", Pickle::new().tensor(FLOATS, 0, &[1; 65], &[1; 65]));
    // Lists inside lists inside lists: nothing here descends into them.
    let nested = Pickle::new().raw(&vec![b']'; 1 << 20]).raw(&vec![b'a'; (1 << 20) - 1]);
    assert_defect!(with_pickle(nested), Kind::Pickle(Defect::NoTensors), None, None);
    // A list that holds itself.
    let own = Pickle::new().raw(b"]q\0h\0a");
    assert_defect!(with_pickle(own), Kind::Pickle(Defect::NoTensors), None, None);
    let result = read(&archive(&vec![b'N'; (32 << 20) + 1], &[]));
    assert_defect!(result, Kind::TooLong { what: "a pickle", .. }, None, Some(PICKLE));
    // A text longer than what is left.
    let at = Some(PICKLE + 7);
    assert_defect!(with_pickle(Pickle::new().raw(b"X\xff\xff\xff\x00")), Kind::Truncated { .. }, None, at);
}
