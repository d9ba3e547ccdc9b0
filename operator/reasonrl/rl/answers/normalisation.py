"""One spelling for what is written in many: LaTeX dialects, Unicode, decoration.

Works on text and knows no mathematics: nothing here may change what an answer says.
"""

from __future__ import annotations

import re

from reasonrl.rl.answers.vocabulary import NUMBER_WORDS, words

_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿⁱ", "0123456789+-=()ni")
_SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₙₖₘ", "0123456789+-=()nkm")
_SUPERSCRIPT_RUN = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿⁱ]+")
_SUBSCRIPT_RUN = re.compile("[₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₙₖₘ]+")

_GREEK_NAMES = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau upsilon phi chi psi omega "
    "Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega"
)
_GREEK = dict(zip("αβγδεζηθικλμνξπρστυφχψωΓΔΘΛΞΠΣΦΨΩ", _GREEK_NAMES.split(), strict=True))

_UNICODE = {
    **{letter: rf"\{name} " for letter, name in _GREEK.items()},
    **dict.fromkeys("−–—‒﹣－", "-"),
    **dict.fromkeys("×✕", r"\times "),
    **dict.fromkeys("·⋅∙•", r"\cdot "),
    **dict.fromkeys("\u00a0\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000", " "),
    **dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff", ""),
    **dict.fromkeys("’′", "'"),
    **dict.fromkeys("“”", '"'),
    **dict.fromkeys("ℝ", r"\mathbb{R}"),
    **dict.fromkeys("ℤ", r"\mathbb{Z}"),
    **dict.fromkeys("ℕ", r"\mathbb{N}"),
    **dict.fromkeys("ℚ", r"\mathbb{Q}"),
    **dict.fromkeys("ℂ", r"\mathbb{C}"),
    "″": "''",
    "÷": "/",
    "∕": "/",
    "⁄": "/",
    "√": r"\sqrt ",
    "∛": r"\sqrt[3]",
    "∞": r"\infty ",
    "≤": r"\le ",
    "⩽": r"\le ",
    "≥": r"\ge ",
    "⩾": r"\ge ",
    "≠": r"\ne ",
    "≈": r"\approx ",
    "≡": r"\equiv ",
    "∪": r"\cup ",
    "∩": r"\cap ",
    "∖": r"\setminus ",
    "∈": r"\in ",
    "∅": r"\emptyset ",
    "±": r"\pm ",
    "∓": r"\mp ",
    "°": r"\degree ",
    "∠": r"\angle ",
    "△": r"\triangle ",
    "⌊": r"\lfloor ",
    "⌋": r"\rfloor ",
    "⌈": r"\lceil ",
    "⌉": r"\rceil ",
    "⟨": r"\langle ",
    "⟩": r"\rangle ",
    "∣": r"\mid ",
    "∀": r"\forall ",
    "∃": r"\exists ",
    "€": r"\euro ",
    "£": r"\pound ",
    "¥": r"\yen ",
    "℃": r"\text{ celsius}",
    "℉": r"\text{ fahrenheit}",
    **{circled: f"({number})" for number, circled in enumerate("①②③④⑤⑥⑦⑧⑨", start=1)},
    "½": r"\frac{1}{2}",
    "⅓": r"\frac{1}{3}",
    "⅔": r"\frac{2}{3}",
    "¼": r"\frac{1}{4}",
    "¾": r"\frac{3}{4}",
    "⅕": r"\frac{1}{5}",
    "⅙": r"\frac{1}{6}",
    "⅛": r"\frac{1}{8}",
    "⅜": r"\frac{3}{8}",
    "⅝": r"\frac{5}{8}",
    "⅞": r"\frac{7}{8}",
    "，": ",",
    "、": ",",
    "。": ".",
    "；": ";",
    "：": ":",
    "（": "(",
    "）": ")",
    "［": "[",
    "］": "]",
    "｛": "{",
    "｝": "}",
    "＝": "=",
    "＋": "+",
    "％": "%",
    "＜": "<",
    "＞": ">",
}
_UNICODE_TABLE = str.maketrans(_UNICODE)

_SAME_COMMAND = {
    "dfrac": "frac",
    "tfrac": "frac",
    "cfrac": "frac",
    "dbinom": "binom",
    "tbinom": "binom",
    "leq": "le",
    "leqslant": "le",
    "leqq": "le",
    "geq": "ge",
    "geqslant": "ge",
    "geqq": "ge",
    "neq": "ne",
    "not=": "ne",
    "lt": "<",
    "gt": ">",
    "lbrace": "{",
    "rbrace": "}",
    "lbrack": "[",
    "rbrack": "]",
    "lparen": "(",
    "rparen": ")",
    "lvert": "|",
    "rvert": "|",
    "vert": "|",
    "varnothing": "emptyset",
    "varphi": "phi",
    "vartheta": "theta",
    "varepsilon": "epsilon",
    "thickapprox": "approx",
    "simeq": "approx",
    "doteq": "approx",
    "backslash": "setminus",
    "smallsetminus": "setminus",
    "ast": "cdot",
    "star": "cdot",
    "centerdot": "cdot",
    "bullet": "cdot",
    "div": "/",
    "colon": ":",
    "land": "wedge",
    "lor": "vee",
    "arcctg": "arccot",
    "tg": "tan",
    "ctg": "cot",
    "arctg": "arctan",
    "cosec": "csc",
    "circ": "degree",
    "textdegree": "degree",
    "lang": "langle",
    "rang": "rangle",
    "Bbb": "mathbb",
    "textnormal": "text",
    "mbox": "text",
    "hbox": "text",
    "textrm": "text",
    "textbf": "text",
    "textit": "text",
    "textsf": "text",
    "texttt": "text",
    "emph": "text",
    "mathop": "operatorname",
}
_PLAIN = {"<", ">", "[", "]", "(", ")", "|", "/", ":"}
_ESCAPED = {"{", "}"}
# They size, space or colour what stands after them.
_IGNORED_COMMANDS = words(
    "left right middle big Big bigg Bigg bigl bigr Bigl Bigr biggl biggr Biggl Biggr displaystyle textstyle scriptstyle limits nolimits "
    "mathstrut strut rm bf it sf boldsymbol mathbf mathit mathsf bm pmb mathnormal hfill nonumber therefore because"
)
_SPACES = words("quad qquad enspace thinspace medspace thickspace space newline")
_COMMAND = re.compile(r"\\([A-Za-z]+) ?")
_SPACED_ARGUMENT = re.compile(r"\\(?:hspace|vspace|phantom|hphantom|vphantom|tag|label|color)\*?\s*\{[^{}]*\}")
_BACKSLASHED_SIGN = re.compile(r"\\([^A-Za-z])")
# 11,\! 111: the comma of a large number, pulled close.
_NEGATIVE_SPACE_GROUP = re.compile(r",\s*\\!\s*(?=\d{3})")
_INVISIBLE_BRACKET = re.compile(r"\\(?:left|right)\s*\.")
_QUAD = re.compile(r"\\q?quad")
_NUMBER_SET = re.compile(r"\\(?:mathbf|boldsymbol|bm|mathrm|mathcal|Bbb)\s*\{\s*([RZNQ])\s*\}")
_TEMPERATURE = re.compile(r"\^?\s*\{?\s*\\degree\s*\}?\s*(?:\\(?:text|mathrm)\s*\{\s*[CF]\s*\}|[CF](?![A-Za-z]))")
# 6th is the sixth: the number is the answer.
_ORDINAL = re.compile(
    r"(?<=\d)\s*\^?\s*(?:\{\s*\\(?:text|mathrm)\s*\{\s*(?:st|nd|rd|th)\s*\}\s*\}|(?:\\(?:text|mathrm)\s*)?\{\s*(?:st|nd|rd|th)\s*\}"
    r"|(?:st|nd|rd|th)(?![A-Za-z]))"
)
_TENS_AND_ONES = re.compile(
    r"\b(twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety)[- ](one|two|three|four|five|six|seven|eight|nine)\b", re.IGNORECASE
)
_ALIGNMENT = re.compile(r"\\(?:begin|end)\s*\{(?:aligned|align\*?|gathered|gather\*?|split|equation\*?)\}")
_MARKUP = re.compile(r"<su([pb])>([^<>]{1,100})</su[pb]>")
_ESCAPED_CHARACTER = re.compile(r"\\u([0-9a-fA-F]{4})")
_OVER = re.compile(r"\{([^{}]*)\\(over|choose)(?![a-z])([^{}]*)\}")
# A set whose braces lost their backslash.
_BARE_SET = re.compile(r"^\{(\s*[A-Za-z]\s*(?:\||:|\\mid ).*)\}$", re.DOTALL)
_ANNOUNCEMENT = re.compile(r"^(?:(?:so|thus|hence|therefore),?\s+)?the\s+(?:final\s+)?answer\s*(?:is|:)\s*:?\s*", re.IGNORECASE)
_STACKED = {"over": "frac", "choose": "binom"}
_NEGATED = re.compile(r"\\not\s*(=|\\in(?![A-Za-z]))")
_DOUBLED = re.compile(
    r"\\\\(?=(?:frac|dfrac|tfrac|sqrt|text|boxed|left|right|pi|cdot|times|begin|end|infty|cup|pm|circ|le|ge|ne|log|ln|sin|cos)\b)"
)
_BACKSLASHES = re.compile(r"\\+(?=[A-Za-z])")
_BASE_10_DIGITS = re.compile("[\u0660-\u0669\u06f0-\u06f9\uff10-\uff19]")


def normalise(text: str) -> str:
    """The canonical spelling of an answer, in the small LaTeX that the parser reads."""
    text = "".join(" " if ord(letter) < 32 or ord(letter) == 127 else letter for letter in text) if _has_control(text) else text
    text = _single_backslashes(text)
    text = _ESCAPED_CHARACTER.sub(lambda code: chr(int(code[1], 16)), text)
    text = _from_unicode(text)
    text = _MARKUP.sub(lambda part: f"{'^' if part[1] == 'p' else '_'}{{{part[2]}}}", text)
    text = _BACKSLASHED_SIGN.sub(_plain_sign, _NEGATIVE_SPACE_GROUP.sub("{,}", text))
    text = _without_dollars(text)
    text = text.replace("~", " ")
    text = _SPACED_ARGUMENT.sub(" ", text)
    text = _INVISIBLE_BRACKET.sub(" ", text)
    # No command starts with its name, so what follows without a space was meant to be apart.
    text = _QUAD.sub(" ", text)
    text = _NUMBER_SET.sub(r"\\mathbb{\1}", text)
    text = _ORDINAL.sub("", text)
    text = _TENS_AND_ONES.sub(lambda pair: str(NUMBER_WORDS[pair[1].lower()] + NUMBER_WORDS[pair[2].lower()]), text)
    text = _NEGATED.sub(lambda sign: r"\ne " if sign[1] == "=" else r"\notin ", text)
    if _ALIGNMENT.search(text):
        text = _ALIGNMENT.sub(" ", text).replace("&", " ")
    text = _COMMAND.sub(_canonical_command, text)
    text = _TEMPERATURE.sub(lambda scale: r"\text{ celsius}" if "C" in scale[0] else r"\text{ fahrenheit}", text)
    # TeX's own fraction and binomial; the inner ones first.
    for _ in range(4):
        changed = _OVER.sub(lambda parts: f"\\{_STACKED[parts[2]]}{{{parts[1]}}}{{{parts[3]}}}", text)
        if changed == text:
            break
        text = changed
    return _BARE_SET.sub(r"\\{\1\\}", _without_decoration(text))


def _has_control(text: str) -> bool:
    return any(ord(letter) < 32 or ord(letter) == 127 for letter in text)


def _single_backslashes(text: str) -> str:
    """Undoes one level of escaping: `\\\\frac` in a JSON file that was escaped twice."""
    if "\\\\" not in text:
        return text
    runs = [len(run) for run in _BACKSLASHES.findall(text)]
    if runs and all(run % 2 == 0 for run in runs):
        return text.replace("\\\\", "\\")
    # Outside an environment a line break cannot stand before a command's name without its own backslash.
    return text if "\\begin" in text else _DOUBLED.sub(r"\\", text)


def _from_unicode(text: str) -> str:
    if text.isascii():
        return text
    text = _SUPERSCRIPT_RUN.sub(lambda run: "^{" + run[0].translate(_SUPERSCRIPTS) + "}", text)
    text = _SUBSCRIPT_RUN.sub(lambda run: "_{" + run[0].translate(_SUBSCRIPTS) + "}", text)
    text = _BASE_10_DIGITS.sub(lambda digit: str(int(digit[0])), text)
    return text.translate(_UNICODE_TABLE)


def _plain_sign(match: re.Match[str]) -> str:
    """Spaces, escaped signs and what switches mathematics on and off. Line breaks, braces and bars keep their backslash."""
    sign = match[1]
    if sign in "\\{}|":
        return match[0]
    if sign in "%&#_":
        return sign
    if sign == "$":
        return r"\dollar "
    return "" if sign == "!" else " "


def _without_dollars(text: str) -> str:
    """A dollar sign without a partner, before a digit, is money; the others switch mathematics on and off."""
    text = text.replace("$$", " ")
    if text.count("$") % 2 == 1:
        text = re.sub(r"\$(?=\s*[.\d])", r"\\dollar ", text, count=1)
    return text.replace("$", " ")


def _canonical_command(match: re.Match[str]) -> str:
    name = match[1]
    if name in _IGNORED_COMMANDS:
        return " "
    if name in _SPACES:
        return " "
    name = _SAME_COMMAND.get(name, name)
    if name in _PLAIN:
        return name
    if name in _ESCAPED:
        return "\\" + name
    return f"\\{name} "


def _without_decoration(text: str) -> str:
    text = _ANNOUNCEMENT.sub("", text.strip().strip("*").strip())
    # A lone ^ is what is left of a degree sign.
    while text and text[-1] in ".,;:^" and not text.endswith("\\:"):
        text = text[:-1].rstrip()
    # "\right." leaves a dot behind, "= 7" a relation with one side.
    while text.startswith(("=", ":", "\\approx ")):
        text = text[len("\\approx ") if text[0] == "\\" else 1 :].lstrip()
    return text
