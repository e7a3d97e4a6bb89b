//! Every function, at least once with what the neighbour gives.

use super::{Room, check, check_key};
use crate::bake::functions::names;

/// Expression and result.
const FUNCTIONS: [(&str, &str); 151] = [
    ("absolute(-3)", "3"),
    ("add(1, 2)", "3"),
    ("and(true, false)", "false"),
    ("base64decode(\"aGVsbG8=\")", "hello"),
    ("base64encode(\"hello\")", "aGVsbG8="),
    ("basename(\"a/b/c.txt\")", "c.txt"),
    ("basename(\"\")", "."),
    ("basename(\"/\")", "/"),
    ("can(nothing.at.all)", "false"),
    ("can(1)", "true"),
    ("ceil(1.2)", "2"),
    ("chomp(\"a\\n\\r\\n\")", "a"),
    ("jsonencode(chunklist([\"a\", \"b\", \"c\"], 2))", "[[\"a\",\"b\"],[\"c\"]]"),
    ("cidrhost(\"10.12.127.0/20\", 16)", "10.12.112.16"),
    ("cidrhost(\"10.12.127.0/20\", -1)", "10.12.127.255"),
    ("cidrhost(\"fd00:fd12:3456:7890:00a2::/72\", 34)", "fd00:fd12:3456:7890::22"),
    ("cidrnetmask(\"172.16.0.0/12\")", "255.240.0.0"),
    ("cidrsubnet(\"172.16.0.0/12\", 4, 2)", "172.18.0.0/16"),
    (
        "jsonencode(cidrsubnets(\"10.1.0.0/16\", 4, 4, 8, 4))",
        "[\"10.1.0.0/20\",\"10.1.16.0/20\",\"10.1.32.0/24\",\"10.1.48.0/20\"]",
    ),
    ("coalesce(null, \"b\", \"c\")", "b"),
    ("coalesce(null, 1, \"c\")", "1"),
    ("jsonencode(coalescelist([], [\"x\"]))", "[\"x\"]"),
    ("jsonencode(compact([\"a\", \"\", \"b\"]))", "[\"a\",\"b\"]"),
    ("jsonencode(concat([\"a\"], [\"b\", \"c\"]))", "[\"a\",\"b\",\"c\"]"),
    ("contains([\"a\", \"b\"], \"b\")", "true"),
    ("contains([1], \"1\")", "false"),
    ("convert(\"12\", number) + 1", "13"),
    ("jsonencode(convert([1, \"a\"], list(string)))", "[\"1\",\"a\"]"),
    ("csvdecode(\"a,b\\n1,2\\n3,4\\n\")[1].b", "4"),
    ("dirname(\"a/b/../c.txt\")", "a"),
    ("dirname(\"x\")", "."),
    ("jsonencode(distinct([\"a\", \"b\", \"a\"]))", "[\"a\",\"b\"]"),
    ("divide(7, 2)", "3.5"),
    ("element([\"a\", \"b\"], 3)", "b"),
    ("equal(1, \"1\")", "false"),
    ("jsonencode(flatten([[\"a\", []], [[\"b\"], \"c\"]]))", "[\"a\",\"b\",\"c\"]"),
    ("floor(-1.2)", "-2"),
    (
        "format(\"%s-%d-%05.1f|%-4s|%4s|%q|%t|%%\", \"a\", 7, 2.25, \"l\", \"r\", \"q\\\"\", true)",
        "a-7-002.2|l   |   r|\"q\\\"\"|true|%",
    ),
    (
        "format(\"%x %X %o %b %e %g %v %#v %+d\", 255, 255, 8, 5, 1234.5, 0.5, [1], \"s\", 3)",
        "ff FF 10 101 1.234500e+03 0.5 [1] \"s\" +3",
    ),
    ("format(\"%[2]s %[1]s\", \"a\", \"b\")", "b a"),
    ("formatdate(\"DD MMM YYYY hh:mm ZZZ\", \"2018-01-02T23:12:01Z\")", "02 Jan 2018 23:12 UTC"),
    (
        "formatdate(\"EEEE, DD-MMM-YY hh:mm:ss ZZZ\", \"2018-01-02T23:12:01-08:00\")",
        "Tuesday, 02-Jan-18 23:12:01 -0800",
    ),
    ("formatdate(\"h'h' H aa 'it''s'\", \"2018-01-02T15:12:01Z\")", "15h 3 pm it's"),
    ("jsonencode(formatlist(\"%s=%s\", [\"a\", \"b\"], \"x\"))", "[\"a=x\",\"b=x\"]"),
    ("greaterthan(2, 1)", "true"),
    ("greaterthanorequalto(1, 1)", "true"),
    ("hasindex([\"a\"], 1)", "false"),
    ("hasindex({ a = 1 }, \"a\")", "true"),
    ("homedir()", "/home/me"),
    ("indent(2, \"a\\nb\")", "a\n  b"),
    ("index([\"a\", \"b\"], 1)", "b"),
    ("indexof([\"a\", \"b\"], \"b\")", "1"),
    ("int(-1.9)", "-1"),
    ("join(\"-\", [\"a\"], [\"b\", \"c\"])", "a-b-c"),
    ("jsondecode(\"{\\\"a\\\": [1, true, null]}\").a[0]", "1"),
    (
        "jsonencode({ b = \"<&>\", a = [1.5, null, false] })",
        "{\"a\":[1.5,null,false],\"b\":\"\\u003c\\u0026\\u003e\"}",
    ),
    ("jsonencode(keys({ b = 1, a = 2 }))", "[\"a\",\"b\"]"),
    ("length([1, 2, 3])", "3"),
    ("length({ a = 1 })", "1"),
    ("lessthan(2, 1)", "false"),
    ("lessthanorequalto(1, 1)", "true"),
    ("log(16, 2)", "4"),
    ("lookup({ a = \"x\" }, \"b\", \"d\")", "d"),
    ("lookup({ a = \"x\" }, \"a\", \"d\")", "x"),
    ("lower(\"ÄB\")", "äb"),
    ("max(1, 3, 2)", "3"),
    ("md5(\"hello\")", "5d41402abc4b2a76b9719d911017c592"),
    ("jsonencode(merge({ a = 1, b = 2 }, null, { b = 3 }))", "{\"a\":1,\"b\":3}"),
    ("min(3, 1, 2)", "1"),
    ("modulo(7, 3)", "1"),
    ("multiply(3, 4)", "12"),
    ("negate(3)", "-3"),
    ("not(true)", "false"),
    ("notequal(1, 2)", "true"),
    ("or(false, true)", "true"),
    ("parseint(\"ff\", 16)", "255"),
    ("parseint(\"-101\", 2)", "-5"),
    ("parseint(\"A\", 62)", "36"),
    ("pow(2, 10)", "1024"),
    ("pow(2, -1)", "0.5"),
    ("jsonencode(range(3))", "[0,1,2]"),
    ("jsonencode(range(1, 7, 2))", "[1,3,5]"),
    ("jsonencode(range(3, 0))", "[3,2,1]"),
    ("regex(\"[a-z]+\", \"53453453.345345aaabbbccc23454\")", "aaabbbccc"),
    ("regex(\"(\\\\d+)-(\\\\d+)\", \"2019-02\")[1]", "02"),
    ("regex(\"(?P<y>\\\\d+)-(?P<m>\\\\d+)\", \"2019-02\").y", "2019"),
    ("jsonencode(regexall(\"[0-9]\", \"a1b2\"))", "[\"1\",\"2\"]"),
    ("length(regexall(\"z\", \"a1b2\"))", "0"),
    ("regex_replace(\"-ab-axxb-\", \"a(x*)b\", \"T$${1}\")", "-T-Txx-"),
    ("replace(\"1 + 2 + 3\", \"+\", \"-\")", "1 - 2 - 3"),
    ("reverse(\"añb\")", "bña"),
    ("jsonencode(reverselist([\"a\", \"b\"]))", "[\"b\",\"a\"]"),
    ("rfc3339parse(\"2024-03-05T06:07:08Z\").month_name", "March"),
    ("rfc3339parse(\"2024-03-05T06:07:08Z\").unix", "1709618828"),
    ("sanitize(\"a/b:c_d-e\")", "a_b_c_d-e"),
    ("semvercmp(\"1.2.3\", \">= 1.2, < 2\")", "true"),
    ("semvercmp(\"1.2.3\", \"~1.1 || ^1.2\")", "true"),
    ("semvercmp(\"v1.2.3\", \"!=1.2.3\")", "false"),
    ("semvercmp(\"1.2.3-beta\", \">1\")", "false"),
    ("semvercmp(\"1.3.0\", \"1.2 - 1.4.0\")", "true"),
    ("semvercmp(\"1.3.9\", \"1.3.x\")", "true"),
    ("sethaselement([\"a\"], \"a\")", "true"),
    ("jsonencode(setintersection([\"a\", \"b\"], [\"b\", \"c\"]))", "[\"b\"]"),
    ("jsonencode(setproduct([\"a\", \"b\"], [1, 2]))", "[[\"a\",1],[\"a\",2],[\"b\",1],[\"b\",2]]"),
    ("jsonencode(setsubtract([\"a\", \"b\"], [\"b\"]))", "[\"a\"]"),
    ("jsonencode(setsymmetricdifference([\"a\", \"b\"], [\"b\", \"c\"]))", "[\"a\",\"c\"]"),
    ("jsonencode(setunion([\"b\", \"a\"], [\"c\"]))", "[\"a\",\"b\",\"c\"]"),
    ("sha1(\"hello\")", "aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d"),
    ("sha256(\"hello\")", "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"),
    ("substr(sha512(\"hello\"), 0, 16)", "9b71d224bd62f378"),
    ("signum(-7)", "-1"),
    ("jsonencode(slice([\"a\", \"b\", \"c\"], 1, 3))", "[\"b\",\"c\"]"),
    ("jsonencode(sort([\"b\", \"a\"]))", "[\"a\",\"b\"]"),
    ("jsonencode(split(\",\", \"a,b,\"))", "[\"a\",\"b\",\"\"]"),
    ("jsonencode(split(\"\", \"ab\"))", "[\"a\",\"b\"]"),
    ("strlen(\"añ👩‍👩‍👧b\")", "4"),
    ("substr(\"hello\", 1, 3)", "ell"),
    ("substr(\"hello\", -3, -1)", "llo"),
    ("subtract(1, 2)", "-1"),
    ("timeadd(\"2017-11-22T00:00:00Z\", \"10m\")", "2017-11-22T00:10:00Z"),
    ("timeadd(\"2017-11-22T00:00:00+01:00\", \"-1h30m\")", "2017-11-21T22:30:00+01:00"),
    ("timestamp()", "2020-01-10T00:30:00Z"),
    ("title(\"hello wor'ld it_is\")", "Hello Wor'ld It_is"),
    ("trim(\"?!x!?\", \"!?\")", "x"),
    ("trimprefix(\"helloworld\", \"hello\")", "world"),
    ("trimspace(\" a \\n\")", "a"),
    ("trimsuffix(\"helloworld\", \"world\")", "hello"),
    ("try(nothing.at.all, \"fallback\")", "fallback"),
    ("unixtimestampparse(0).rfc3339", "1970-01-01T00:00:00Z"),
    ("unixtimestampparse(1690328596).iso_week", "30"),
    ("unixtimestampparse(1690328596).weekday_name", "Tuesday"),
    ("upper(\"aé\")", "AÉ"),
    ("urlencode(\"a b/ü~*\")", "a+b%2F%C3%BC~%2A"),
    ("strlen(uuidv4())", "36"),
    ("uuidv4() == uuidv4()", "false"),
    ("uuidv5(\"dns\", \"www.terraform.io\")", "a5008fae-b28c-5ba5-96cd-82b4c53552d6"),
    (
        "uuidv5(\"6ba7b810-9dad-11d1-80b4-00c04fd430c8\", \"www.terraform.io\")",
        "a5008fae-b28c-5ba5-96cd-82b4c53552d6",
    ),
    ("jsonencode(values({ b = 1, a = 2 }))", "[2,1]"),
    ("zipmap([\"a\", \"b\"], [1, 2]).b", "2"),
    // What is refused, and how.
    (
        "byteslen(\"a\")",
        "! Invalid function argument: Invalid value for \"buf\" parameter: a buffer of bytes is required, and there is no way to make one",
    ),
    (
        "bytesslice(\"a\", 0, 1)",
        "! Invalid function argument: Invalid value for \"buf\" parameter: a buffer of bytes is required, and there is no way to make one",
    ),
    (
        "bcrypt(\"a\")",
        "! Error in function call: Call to function \"bcrypt\" failed: bcrypt gives another hash each time, so that no build would be reproducible; pass the hash in as a variable",
    ),
    (
        "rsadecrypt(\"a\", \"b\")",
        "! Error in function call: Call to function \"rsadecrypt\" failed: a private key does not belong into a build definition; decrypt before and pass the text in as a variable",
    ),
    (
        "upper(null)",
        "! Invalid function argument: Invalid value for \"str\" parameter: argument must not be null",
    ),
    (
        "upper()",
        "! Not enough function arguments: Function \"upper\" expects 1 argument(s). Missing value for \"str\"",
    ),
    ("upper(\"a\", \"b\")", "! Too many function arguments: Function \"upper\" expects only 1 argument(s)"),
    ("uper(\"a\")", "! Call to unknown function: There is no function named \"uper\"; did you mean upper?"),
    (
        "length(\"abc\")",
        "! Invalid function argument: Invalid value for \"collection\" parameter: collection must be a list, a map or a tuple",
    ),
    ("upper([\"a\"]...)", "A"),
    (
        "format(\"%d\", \"x\")",
        "! Invalid function argument: Invalid value for \"args\" parameter: a number is required",
    ),
    (
        "range(5000)",
        "! Error in function call: Call to function \"range\" failed: more than 1024 values were generated; either decrease the difference between start and end or use a smaller step",
    ),
];

#[test]
fn all_of_them() {
    for (expression, expected) in FUNCTIONS {
        match expression {
            "homedir()" => {
                let mut room = Room::of("docker-bake.hcl", "target \"t\" { context = homedir() }");
                room.home = Some("/home/me".to_owned());
                check_key(&room, &[], "context", &format!("{expected:?}"));
            }
            _ => check(expression, expected),
        }
    }
}

#[test]
fn none_is_left_out() {
    for name in names() {
        let used = FUNCTIONS.iter().any(|(expression, _)| expression.contains(&format!("{name}(")));
        assert!(used, "{name} has no example");
    }
    assert_eq!(names().count(), 106);
}
