"""What holds of every page: contrast in light and dark, names of all that can be operated, no scrolling sideways at 360 pixels."""

import re
from urllib.parse import parse_qs, urlsplit

# The contrast of each text, and of the bounds of each field, with what is behind it: what is below what WCAG 2.1 asks for
# (1.4.3: 4.5, and 3 for large text; 1.4.11: 3 for fields and graphics).
CONTRAST = """() => {
    const canvas = new OffscreenCanvas(1, 1).getContext('2d', {willReadFrequently: true});
    const rgba = color => {
        canvas.clearRect(0, 0, 1, 1);
        canvas.fillStyle = color;
        canvas.fillRect(0, 0, 1, 1);
        const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
        return [r, g, b, a / 255];
    };
    const over = (top, below) => [0, 1, 2].map(i => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
    const probe = document.body.appendChild(document.createElement('i'));
    probe.style.backgroundColor = 'Canvas';
    const bottom = rgba(getComputedStyle(probe).backgroundColor);
    probe.remove();
    const behind = element => {
        const layers = [];
        for (let at = element; at; at = at.parentElement) {
            const style = getComputedStyle(at);
            if (style.backgroundImage !== 'none') found.push(`${path(at)}: a background image, whose contrast nobody knows`);
            layers.push(rgba(style.backgroundColor));
            if (layers.at(-1)[3] === 1) break;
        }
        return layers.reduceRight((below, layer) => over(layer, below), bottom);
    };
    const opacity = element => {
        let product = 1;
        for (let at = element; at; at = at.parentElement) product *= Number(getComputedStyle(at).opacity);
        return product;
    };
    const luminance = color => [0.2126, 0.7152, 0.0722].reduce((sum, weight, i) => {
        const part = color[i] / 255;
        return sum + weight * (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    }, 0);
    const ratio = (color, below, strength = 1) => {
        const top = rgba(color);
        const [a, b] = [luminance(over([...top.slice(0, 3), top[3] * strength], below)), luminance(below)];
        return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    };
    const path = element => `<${element.tagName.toLowerCase()} class="${element.getAttribute('class') ?? ''}">`;
    const seen = element => element.checkVisibility({checkOpacity: true, checkVisibilityCSS: true})
        && element.getBoundingClientRect().width > 1 && element.getBoundingClientRect().height > 1;
    const found = [];
    let texts = 0;
    const text = (element, what, color) => {
        texts += 1;
        const style = getComputedStyle(element);
        const size = parseFloat(style.fontSize);
        const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
        const got = ratio(color, behind(element), opacity(element));
        if (got < (large ? 3 : 4.5)) found.push(`${path(element)} ${JSON.stringify(what.slice(0, 40))}: contrast ${got.toFixed(2)}`);
    };
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const element = walker.currentNode.parentElement;
        if (!walker.currentNode.data.trim() || element.closest('script, style, noscript, option, svg title, svg desc')) continue;
        if (element.closest(':disabled') || !seen(element)) continue;
        text(element, walker.currentNode.data.trim(), element.closest('svg') ? getComputedStyle(element).fill : getComputedStyle(element).color);
    }
    for (const field of document.querySelectorAll('input, textarea, select')) {
        if (field.type === 'hidden' || field.disabled || !seen(field)) continue;
        const style = getComputedStyle(field);
        if (style.appearance === 'auto' && ['checkbox', 'radio'].includes(field.type)) continue;
        text(field, field.value, style.color);
        if (field.placeholder) text(field, field.placeholder, getComputedStyle(field, '::placeholder').color);
        const around = behind(field.parentElement);
        const edge = parseFloat(style.borderTopWidth) > 0 && style.borderTopStyle !== 'none' ? ratio(style.borderTopColor, around) : 1;
        if (Math.max(edge, ratio(style.backgroundColor, around)) < 3) found.push(`${path(field)}: its bounds have a contrast of ${edge.toFixed(2)}`);
    }
    for (const shape of document.querySelectorAll('svg rect, svg path, svg circle, svg polyline, svg line')) {
        const style = getComputedStyle(shape);
        const color = style.fill !== 'none' ? style.fill : style.stroke;
        if (!seen(shape) || color === 'none' || shape.closest('.track, .axis, .grid')) continue;
        const got = ratio(color, behind(shape.closest('svg')), opacity(shape));
        if (got < 3) found.push(`${path(shape)}: a shape of contrast ${got.toFixed(2)}`);
    }
    return {texts, found};
}"""
# Outline or ring of what has the focus.
FOCUS = """() => {
    const style = getComputedStyle(document.activeElement);
    return (style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 1) || style.boxShadow !== 'none';
}"""
STRUCTURE = """() => {
    const found = [];
    const levels = [...document.querySelectorAll('h1, h2, h3, h4, h5, h6')].map(heading => Number(heading.tagName[1]));
    if (levels.filter(level => level === 1).length !== 1) found.push('not one h1');
    levels.forEach((level, at) => { if (at && level > levels[at - 1] + 1) found.push(`a heading of level ${level} behind one of ${levels[at - 1]}`); });
    const ids = [...document.querySelectorAll('[id]')].map(element => element.id);
    ids.forEach((id, at) => { if (ids.indexOf(id) !== at) found.push(`two elements have the id ${id}`); });
    for (const attribute of ['for', 'aria-labelledby', 'aria-describedby', 'aria-controls'])
        for (const element of document.querySelectorAll(`[${attribute}]`))
            for (const id of element.getAttribute(attribute).split(' '))
                if (!document.getElementById(id)) found.push(`${attribute}="${id}" leads nowhere`);
    for (const group of document.querySelectorAll('fieldset:not(:has(> legend)), [role=group]:not([aria-label], [aria-labelledby])'))
        found.push('a group without a name');
    if (!document.documentElement.lang) found.push('no language');
    if (!document.querySelector('main')) found.push('no main');
    if (document.querySelector('[style]')) found.push('a style attribute');
    for (const link of document.querySelectorAll('a:not([href])')) found.push(`a link that leads nowhere: ${link.textContent}`);
    return found;
}"""
OPERATED = {"button", "link", "textbox", "searchbox", "spinbutton", "checkbox", "radio", "combobox", "listbox", "progressbar", "image", "img",
            "region", "navigation", "table", "Date", "DateTime", "slider", "switch", "meter"}  # fmt: skip
UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def shape(url):
    """Which page an address is, whatever the key: its path, and the names of what it asks for."""
    parts = urlsplit(url)
    asked = parse_qs(parts.query, keep_blank_values=True)
    # Each page of a list is like the next one.
    return UUID.sub("KEY", parts.path), tuple(sorted(name for name in asked))


def every_page(page, base):
    """Goes to each page that links lead to, one of a kind, and gives its address once it is there."""
    left, met = [base + "keys"], set()
    while left:
        address = left.pop(0)
        if shape(address) in met:
            continue
        met.add(shape(address))
        answer = page.goto(address)
        assert answer.status == 200, f"{answer.status}: {address}"
        links = page.locator("a[href]").evaluate_all("links => links.map(link => link.href.split('#')[0])")
        left += [link for link in links if link.startswith(base)]
        yield address


def unnamed(page):
    """The parts of a page that can be operated, or that structure it, without a name for who doesn't see it."""
    session = page.context.new_cdp_session(page)
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    session.detach()
    found = []
    for node in nodes:
        role = node.get("role", {}).get("value")
        if not node.get("ignored") and role in OPERATED and not node.get("name", {}).get("value", "").strip():
            found.append(f"a {role} without a name")
    return found


def wrong_with(page):
    """All that doesn't hold of a page as it is now."""
    found = [*unnamed(page), *page.evaluate(STRUCTURE)]
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        page.wait_for_function("document.getAnimations().length === 0")
        contrast = page.evaluate(CONTRAST)
        assert contrast["texts"] > 1, "a page without texts"
        found += [f"{scheme}: {problem}" for problem in contrast["found"]]
    page.emulate_media(color_scheme="light")
    size = page.viewport_size
    page.set_viewport_size({"width": 360, "height": 740})
    if (width := page.evaluate("document.scrollingElement.scrollWidth")) > 360:
        found.append(f"{width} pixels wide in a window of 360")
    page.set_viewport_size(size)
    return sorted(set(found))
