"""Provides solved examples to put before a task: three in each language, written by us, in no suite.

They are the same three functions in each language, in the format of the suites' tasks: comment, signature, body.
"""

from __future__ import annotations

MOST = 3

_PYTHON = (
    '''def clamp(value: float, low: float, high: float) -> float:
    """Keep a value between two limits.
    >>> clamp(12, 0, 9)
    9
    """
    if value < low:
        return low
    return min(value, high)
''',
    '''def longest_gap(times: list) -> int:
    """The longest pause between two visits in a row.
    >>> longest_gap([3, 4, 9])
    5
    """
    gap = 0
    for earlier, later in zip(times, times[1:]):
        gap = max(gap, later - earlier)
    return gap
''',
    '''def initials(name: str) -> str:
    """The first letters of a person's names, each with a dot.
    >>> initials('ada king lovelace')
    'A.K.L.'
    """
    letters = [part[0].upper() for part in name.split()]
    return ''.join(letter + '.' for letter in letters)
''',
)
_JAVA = (
    """class Clamp {
    /**
     * Keep a value between two limits.
     * > clamp(12, 0, 9)
     * 9
     */
    public static int clamp(int value, int low, int high) {
        if (value < low) {
            return low;
        }
        return Math.min(value, high);
    }
}
""",
    """class LongestGap {
    /**
     * The longest pause between two visits in a row.
     * > longestGap([3, 4, 9])
     * 5
     */
    public static int longestGap(List<Integer> times) {
        int gap = 0;
        for (int later = 1; later < times.size(); later++) {
            gap = Math.max(gap, times.get(later) - times.get(later - 1));
        }
        return gap;
    }
}
""",
    """class Initials {
    /**
     * The first letters of a person's names, each with a dot.
     * > initials("ada king lovelace")
     * "A.K.L."
     */
    public static String initials(String name) {
        StringBuilder letters = new StringBuilder();
        for (String part : name.trim().split(" +")) {
            letters.append(Character.toUpperCase(part.charAt(0))).append('.');
        }
        return letters.toString();
    }
}
""",
)
_JAVASCRIPT = (
    """/**
 * Keep a value between two limits.
 * > clamp(12, 0, 9)
 * 9
 */
function clamp(value, low, high) {
    if (value < low) {
        return low;
    }
    return Math.min(value, high);
}
""",
    """/**
 * The longest pause between two visits in a row.
 * > longestGap([3, 4, 9])
 * 5
 */
function longestGap(times) {
    let gap = 0;
    for (let later = 1; later < times.length; later++) {
        gap = Math.max(gap, times[later] - times[later - 1]);
    }
    return gap;
}
""",
    """/**
 * The first letters of a person's names, each with a dot.
 * > initials("ada king lovelace")
 * "A.K.L."
 */
function initials(name) {
    const letters = name.split(" ").map((part) => part[0].toUpperCase());
    return letters.map((letter) => letter + ".").join("");
}
""",
)
_TYPESCRIPT = tuple(
    text.replace(f"function {name}({names}) {{", f"const {name} = function ({typed}) : {result} {{")
    for text, name, names, typed, result in zip(
        _JAVASCRIPT,
        ("clamp", "longestGap", "initials"),
        ("value, low, high", "times", "name"),
        ("value: number, low: number, high: number", "times: Array<number>", "name: string"),
        ("number", "number", "string"),
        strict=True,
    )
)
_PHP = (
    """/**
 * Keep a value between two limits.
 * > clamp(12, 0, 9)
 * 9
 */
function clamp($value, $low, $high) {
    if ($value < $low) {
        return $low;
    }
    return min($value, $high);
}
""",
    """/**
 * The longest pause between two visits in a row.
 * > longestGap([3, 4, 9])
 * 5
 */
function longestGap($times) {
    $gap = 0;
    for ($later = 1; $later < count($times); $later++) {
        $gap = max($gap, $times[$later] - $times[$later - 1]);
    }
    return $gap;
}
""",
    """/**
 * The first letters of a person's names, each with a dot.
 * > initials("ada king lovelace")
 * "A.K.L."
 */
function initials($name) {
    $letters = "";
    foreach (explode(" ", $name) as $part) {
        $letters .= strtoupper($part[0]) . ".";
    }
    return $letters;
}
""",
)
_CPP = (
    """/**
 * Keep a value between two limits.
 * > clampValue(12, 0, 9)
 * 9
 */
int clampValue(int value, int low, int high) {
    if (value < low) {
        return low;
    }
    return min(value, high);
}
""",
    """/**
 * The longest pause between two visits in a row.
 * > longestGap(vector<int>{3, 4, 9})
 * 5
 */
int longestGap(vector<int> times) {
    int gap = 0;
    for (size_t later = 1; later < times.size(); later++) {
        gap = max(gap, times[later] - times[later - 1]);
    }
    return gap;
}
""",
    """/**
 * The first letters of a person's names, each with a dot.
 * > initials(string("ada king lovelace"))
 * string("A.K.L.")
 */
string initials(string name) {
    string letters, part;
    stringstream parts(name);
    while (parts >> part) {
        letters += string(1, toupper(part[0])) + ".";
    }
    return letters;
}
""",
)
EXAMPLES = {
    "python": _PYTHON,
    "java": _JAVA,
    "javascript": _JAVASCRIPT,
    "typescript": _TYPESCRIPT,
    "php": _PHP,
    "cpp": _CPP,
}


def examples(language: str, count: int) -> str:
    """Return the text of the first ``count`` examples of a language, at most `MOST`, for a document."""
    return "\n\n".join(EXAMPLES[language][:count])
