#!/usr/bin/env python3
"""Writes data.txt: what models read besides prose and programs. Arithmetic, JSON, tables, logs, settings, chat with tools; made of
word lists and numbers by a fixed sequence of random numbers.    usage: data.py >data.txt"""
import json
import random
import string

r = random.Random(20_240_229)
FIRST = "Ada Bilal Chiara Dmitri Elif Femi Greta Hiro Ines Jakub Kavya Lars Mei Nadia Oleg Priya Quentin Rosa Sven Tariq Uma Vera Wanjiru Ximena Yusuf Zofia".split()
LAST = "Abate Brandt Costa Dubois Eriksen Farah Garcia Haas Ibrahim Jensen Kowalski Lund Moreau Nakamura Okafor Petrov Quispe Rossi Suzuki Tanaka Ueda Vogel Wang Yilmaz Zhou".split()
CITIES = "Accra Bogotá Chennai Dakar Edinburgh Florence Graz Hanoi Istanbul Jaipur Kraków Lagos Malmö Nairobi Oaxaca Porto Quito Riga Sapporo Tbilisi Ulm València Wrocław Xiamen York Zürich".split()
THINGS = "anchor basket candle drill engine flute gasket hammer inkwell jacket kettle lantern mirror needle oven pulley quilt rope saddle teapot umbrella valve wheel xylophone yoke zip".split()
KINDS = "brass cotton dark elastic folding glass heavy iron jointed knitted large maple narrow oak plain quiet round steel tall used velvet wooden".split()
EVENTS = ["connection from {ip} accepted", "request {id} took {ms} ms", "cache miss for key {key}", "retry {n} of 5 after {ms} ms",
          "user {name} signed in from {city}", "wrote {bytes} bytes to /var/lib/{thing}/{id}.bin", "certificate expires in {n} days",
          "queue length {n}, oldest entry {ms} ms", "checksum of {key} does not match: expected {id}, found {key}", "worker {n} stopped by signal 15",
          "cannot open /etc/{thing}.conf: Permission denied", "deadlock on table {thing}, transaction {id} rolled back"]


def pick(*lists):
    return " ".join(r.choice(words) for words in lists)


def word(length, letters="0123456789abcdef"):
    return "".join(r.choice(letters) for _ in range(length))


def date():
    return f"{r.randint(1950, 2035)}-{r.randint(1, 12):02}-{r.randint(1, 28):02}"


def clock():
    return f"{r.randint(0, 23):02}:{r.randint(0, 59):02}:{r.randint(0, 59):02}"


def person():
    name = pick(FIRST, LAST)
    return {"id": r.randint(1, 99_999), "name": name, "email": f"{name.lower().replace(' ', r.choice('._'))}@example.{r.choice(['org', 'com', 'net'])}",
            "born": date(), "city": r.choice(CITIES), "active": r.random() < 0.7, "score": round(r.gauss(50, 20), 2), "manager": r.choice([None, r.randint(1, 99_999)])}


def value(depth):
    if depth == 0 or r.random() < 0.3:
        return r.choice([r.randint(-1000, 1000), round(r.uniform(-10, 10), 4), True, False, None, pick(KINDS, THINGS), date(), word(8)])
    if r.random() < 0.4:
        return [value(depth - 1) for _ in range(r.randint(0, 4))]
    return {r.choice(THINGS) + r.choice(["", "_id", "Count", "s"]): value(depth - 1) for _ in range(r.randint(1, 4))}


def arithmetic():
    kind = r.randrange(7)
    a, b, c = r.randint(2, 999), r.randint(2, 999), r.randint(2, 12)
    if kind == 0:
        return f"{a} + {b} = {a + b}; {a} − {b} = {a - b}; {a} × {b} = {a * b}"
    if kind == 1:
        return f"{a * c} ÷ {c} = {a}, and {a * c + 1} ÷ {c} = {a} remainder 1"
    if kind == 2:
        return f"{c}% of {a} is {a * c / 100:g}; {a} increased by {c}% is {a * (100 + c) / 100:g}"
    if kind == 3:
        return f"Solve {c}x + {a} = {c * b + a}. Subtract {a}: {c}x = {c * b}. Divide by {c}: x = {b}."
    if kind == 4:
        x, y = r.randint(-9, 9), r.randint(-9, 9)
        return f"x² {-(x + y):+d}x {x * y:+d} = (x {-x:+d})(x {-y:+d}), so x = {x} or x = {y}."
    if kind == 5:
        return f"{a} in binary is {a:b}, in hexadecimal 0x{a:X}; 0b{b:b} is {b}."
    return f"$\\int_0^{{{c}}} x^{{{c - 1}}}\\,dx = \\frac{{{c}^{{{c}}}}}{{{c}}} = {c ** (c - 1)}$ and $\\sum_{{k=1}}^{{{a}}} k = \\frac{{{a}\\cdot{a + 1}}}{{2}} = {a * (a + 1) // 2}$"


def table(form):
    columns = r.sample(["item", "price", "stock", "place", "since", "code", "rating"], r.randint(3, 6))
    make = {"item": lambda: pick(KINDS, THINGS), "price": lambda: f"{r.uniform(0.5, 900):.2f}", "stock": lambda: str(r.randint(0, 500)),
            "place": lambda: r.choice(CITIES), "since": date, "code": lambda: word(3, string.ascii_uppercase) + "-" + word(4, string.digits), "rating": lambda: "★" * r.randint(1, 5)}
    rows = [[make[column]() for column in columns] for _ in range(r.randint(4, 9))]
    if form == "csv":
        return "\n".join(",".join(row) for row in [columns, *rows])
    if form == "tsv":
        return "\n".join("\t".join(row) for row in [columns, *rows])
    if form == "latex":
        return "\\begin{tabular}{" + "l" * len(columns) + "}\n\\hline\n" + " \\\\\n".join(" & ".join(row) for row in [columns, *rows]) + " \\\\\n\\hline\n\\end{tabular}"
    return "\n".join("| " + " | ".join(row) + " |" for row in [columns, ["---"] * len(columns), *rows])


def log():
    start, lines = r.randint(1_500_000_000, 1_900_000_000), []
    style, day = r.randrange(3), date()
    for _ in range(r.randint(8, 14)):
        start += r.randint(0, 90)
        text = r.choice(EVENTS).format(ip=".".join(str(r.randint(1, 254)) for _ in range(4)), id=word(8), ms=r.randint(1, 9000), key=word(12), n=r.randint(1, 40),
                                       name=r.choice(FIRST).lower(), city=r.choice(CITIES), bytes=r.randint(100, 10 ** 7), thing=r.choice(THINGS))
        level = r.choice(["INFO", "INFO", "DEBUG", "WARN", "ERROR"])
        lines.append([f"{day}T{clock()}Z {level:<5} {text}", f"[{start}.{r.randint(0, 999):03}] {level.lower()}: {text}", f"{clock()} {r.choice(THINGS)}[{r.randint(100, 32000)}]: {text}"][style])
    return "\n".join(lines)


def settings(form):
    sections = {r.choice(THINGS): {r.choice(KINDS) + "_" + r.choice(THINGS): r.choice([r.randint(0, 9999), r.random() < 0.5, pick(KINDS), round(r.random(), 3), [r.randint(1, 9) for _ in range(3)]]) for _ in range(r.randint(2, 5))} for _ in range(r.randint(2, 3))}
    text = lambda x: json.dumps(x)
    if form == "toml":
        return "\n\n".join(f"[{name}]\n" + "\n".join(f"{key} = {text(x)}" for key, x in rows.items()) for name, rows in sections.items())
    if form == "yaml":
        return "\n".join(f"{name}:\n" + "\n".join(f"  {key}: {text(x)}" for key, x in rows.items()) for name, rows in sections.items())
    if form == "xml":
        return "<?xml version=\"1.0\"?>\n<settings>\n" + "\n".join(f"  <{name}>\n" + "\n".join(f"    <{key} value='{text(x)}'/>" for key, x in rows.items()) + f"\n  </{name}>" for name, rows in sections.items()) + "\n</settings>"
    return "\n".join(f"export {name.upper()}_{key.upper()}={text(x)}" for name, rows in sections.items() for key, x in rows.items())


def call():
    a, b = r.sample(CITIES, 2)
    hours, people = r.randint(1, 14), r.randint(1, 4)
    request = {"name": "find_trips", "arguments": {"from": a, "to": b, "date": date(), "passengers": people}}
    trips = [{"depart": clock()[:5], "hours": hours + r.randint(0, 5), "changes": r.randint(0, 3), "price": round(r.uniform(20, 400), 2)} for _ in range(3)]
    cheapest = min(trips, key=lambda trip: trip["price"])
    return (f"User: How do I get from {a} to {b} with {people} {'person' if people == 1 else 'people'}?\nAssistant: <tool_call>{json.dumps(request, ensure_ascii=False)}</tool_call>\n"
            f"Tool: {json.dumps(trips)}\nAssistant: The cheapest of the three leaves at {cheapest['depart']}, takes {cheapest['hours']} hours with {cheapest['changes']} changes and costs {cheapest['price']:.2f} each, {people * cheapest['price']:.2f} in all.")


def ledger():
    balance, lines = r.randint(100, 5000), []
    lines.append(f"Opening balance: {balance:,}")
    for _ in range(r.randint(4, 7)):
        change = r.randint(-900, 900)
        balance += change
        lines.append(f"{date()}  {pick(KINDS, THINGS):<20} {change:>+7,}  →  {balance:>7,}")
    return "\n".join(lines)


def graph():
    names = r.sample(CITIES, 6)
    edges = [f"  {a} -> {b} [label={r.randint(1, 99)}];" for a, b in zip(names, names[1:] + names[:1])]
    return "digraph {\n" + "\n".join(edges) + "\n}"


MAKERS = [lambda: "\n".join(arithmetic() for _ in range(r.randint(3, 6))), lambda: json.dumps([person() for _ in range(r.randint(1, 3))], indent=r.choice([None, 1, 2, 4]), ensure_ascii=False),
          lambda: json.dumps({r.choice(THINGS): value(3), r.choice(KINDS): value(2)}, indent=r.choice([None, 2]), ensure_ascii=r.random() < 0.5), lambda: table("csv"), lambda: table("markdown"),
          lambda: table(r.choice(["latex", "tsv"])), log, lambda: settings("toml"), lambda: settings("yaml"), lambda: settings(r.choice(["xml", "env"])), call, ledger, graph]

written = 0
while written < 44_000:
    for make in r.sample(MAKERS, len(MAKERS)):
        text = make() + "\n\n"
        written += len(text.encode())
        print(text, end="")
