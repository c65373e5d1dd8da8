// Says the page in another language. The server writes English, and records it; here every text that is shown is
// looked up in the language's dictionary, also what comes later: answers of the server, charts, hints.
//
// The dictionary maps English to the other language; "{0}" stands for what was put into a sentence. Texts inside
// `pre`, `code` or anything marked `translate="no"` are a model's or a person's, and stay as they are.
// Pages without a script are exchanged by the same rules in `wfgy_triage/languages`; a change belongs in both.
(() => {
  const LANGUAGES = {
    zh: {
      name: '中文', html: 'zh-Hans', stop: '。', colon: '：', comma: '，', open: '（', close: '）',
      date: (day, month, year) => `${year}年${month}月${day}日`,
    },
  };
  const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];
  const ATTRIBUTES = ['aria-label', 'title', 'placeholder', 'alt', 'data-l'];
  const FOREIGN = 'pre, code, script, style, textarea, [translate="no"], [contenteditable="true"]';
  const KEPT_AS = 'wfgy-triage-language';
  const SHORT = 14;      // letters below which a pattern says too little to be trusted with half a sentence
  const DEEPEST = 4;     // what is put into a sentence can be a sentence
  const LONGEST = 3000;  // characters; whatever is longer was not written for the page
  const MOST_LOOKUPS = 1000;  // for one text; foreign ones made of a thousand little sentences would take minutes
  const here = document.currentScript.src;

  // Lookup ------------------------------------------------------------------------------------------------

  const squeeze = text => text.replace(/\s+/g, ' ').trim();
  const hasWords = text => /[A-Za-z]{2}/.test(text);
  const halfSaid = text => /[a-z]{2,} [a-z]{2,}/.test(text);

  // A pattern of the dictionary. Slots without a word between them can only be taken as one.
  function pattern(english, other) {
    const slots = [];
    const source = english.split(/((?:\{\d+\})+)/).map((piece, i) => {
      if (i % 2 === 0) return piece.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
      slots.push(/\d+/.exec(piece)[0]);
      return i === 1 && english.startsWith('{') ? '([^]+?)' : '([^]*?)';
    }).join('');
    const weight = english.replace(/\{\d+\}/g, '').replace(/[^A-Za-z]/g, '').length;
    return { matches: new RegExp(`^${source}$`, 'i'), slots, other, weight };
  }

  function compile(dictionary, words) {
    const exact = new Map(), patterns = new Map(), known = new Map();
    // Of the text in hand: how often the dictionary may still be asked, and what was said of its parts.
    let left = 0, told = new Map();
    for (const [english, other] of Object.entries(dictionary)) {
      if (!english.includes('{0}')) { exact.set(english.toLowerCase(), other); continue; }
      const made = pattern(english, other);
      if (!made.weight) continue;
      const first = /^[A-Za-z]{2,}/.exec(english);
      // A slot right behind the first word could be a part of it.
      const key = first && english[first[0].length] !== '{' ? first[0].toLowerCase() : '';
      if (!patterns.has(key)) patterns.set(key, []);
      patterns.get(key).push(made);
    }
    // The pattern with most words of its own comes first: it says most about the text.
    const anywhere = patterns.get('') ?? [];
    for (const [key, list] of patterns) {
      patterns.set(key, (key ? [...list, ...anywhere] : list).sort((a, b) => b.weight - a.weight));
    }
    const candidates = text => patterns.get(/^[A-Za-z]{2,}/.exec(text)?.[0].toLowerCase()) ?? anywhere;

    function filled({ other, slots, weight }, values, depth) {
      // An English plural's ending can be a slot of its own: "{0} warning{1}".
      const said = values.map(v => (/^e?s$/.test(v.trim()) ? '' : say(v.trim(), depth + 1)));
      if (weight < SHORT && said.some(halfSaid)) return undefined;
      return other.replace(/\{(\d+)\}/g, (_, n) => said[slots.indexOf(n)] ?? '');
    }

    // `across`: whether what was put into a sentence may be several sentences.
    function whole(text, depth, across) {
      if (--left < 0) return undefined;
      const found = exact.get(text.toLowerCase());
      if (found !== undefined) return found;
      const date = /^(\d{1,2}) ([A-Z][a-z]{2}) (\d{4})(?:, (\d\d:\d\d UTC))?$/.exec(text);
      if (date && MONTHS.includes(date[2])) {
        return words.date(date[1], MONTHS.indexOf(date[2]) + 1, date[3]) + (date[4] ? ` ${date[4]}` : '');
      }
      for (const candidate of candidates(text)) {
        const values = candidate.matches.exec(text)?.slice(1);
        if (!values) continue;
        if (!across && values.some(v => /[.!?…] /.test(v))) continue;
        const said = filled(candidate, values, depth);
        if (said !== undefined) return said;
      }
      const aside = /^\(([^()]*)\)$/.exec(text);
      const inside = aside && whole(aside[1], depth, across);
      if (inside) return words.open + inside + words.close;
      const end = /^([^]*[^.:])([.:])$/.exec(text);
      const bare = end && whole(end[1], depth, across);
      return bare ? bare + (end[2] === '.' ? words.stop : words.colon) : undefined;
    }

    // Several texts in one: sentences, then what is joined by a dot, a semicolon, a colon, commas.
    // The last two also stand inside a sentence, which is not torn into halves of two languages.
    const JOINTS = [[/ → /, ' → '], [/ · /, ' · '], [/; /, '；'], [/: /, words.colon], [/, /, words.comma]];
    function sentences(text, depth) {
      const pieces = text.split(/(?<=[.!?…]) /), said = [];
      let found = false;
      for (let from = 0, to; from < pieces.length && pieces.length > 1; from = to) {
        let shown;
        // As many of them as the dictionary has in one.
        for (to = pieces.length; to > from + 1 && shown === undefined; to -= shown === undefined) {
          if (left >= 0 && (from || to < pieces.length)) shown = whole(pieces.slice(from, to).join(' '), depth + 1, false);
        }
        if (shown === undefined) shown = say(pieces[from], depth + 1);
        found ||= shown !== pieces.slice(from, to).join(' ');
        said.push(shown);
      }
      return found ? said.reduce((a, b) => a + (/[\x21-\x7e]$/.test(a) ? ' ' : '') + b) : undefined;
    }

    function joined(text, depth) {
      const parts = sentences(text, depth);
      if (parts !== undefined) return parts;
      for (const [joint, glue] of JOINTS) {
        const pieces = text.split(joint);
        if (pieces.length < 2) continue;
        const said = pieces.map(p => (hasWords(p) ? say(p, depth + 1) : p));
        const torn = (glue === words.colon || glue === words.comma) && said.some(halfSaid);
        if (!torn && said.some((s, i) => s !== pieces[i])) return said.join(glue);
      }
      return undefined;
    }

    function say(text, depth = 0) {
      if (!hasWords(text) || depth > DEEPEST || left < 0) return text;
      const part = `${depth} ${text}`;
      if (!told.has(part)) {
        told.set(part, whole(text, depth, false) ?? joined(text, depth) ?? whole(text, depth, true) ?? text);
      }
      return told.get(part);
    }

    return text => {
      const core = squeeze(text);
      if (!hasWords(core) || core.length > LONGEST) return text;
      if (!known.has(core)) {
        left = MOST_LOOKUPS;
        told = new Map();
        const said = say(core);
        known.set(core, left < 0 ? core : said);
      }
      const said = known.get(core);
      if (said === core) return text;
      return /^\s*/.exec(text)[0] + said + /\s*$/.exec(text)[0];
    };
  }

  // The page ----------------------------------------------------------------------------------------------

  const before = new WeakMap();   // node -> what the server said there, and what stands there instead
  let translate = null, language = '';

  function exchange(node, name, value, set) {
    if (!value) return;
    const texts = before.get(node) ?? before.set(node, {}).get(node);
    if (texts[name]?.shown === value) return;
    const shown = translate(value);
    if (shown === value) { delete texts[name]; return; }
    texts[name] = { said: value, shown };
    set(shown);
  }

  const spoken = element => element && !element.closest(FOREIGN);
  const text = node => {
    const element = node.parentElement;
    if (!spoken(element)) return;
    if (element.matches('tspan.line')) lines(element.parentElement);
    else exchange(node, '', node.data, s => { node.data = s; });
  };

  // A chart's label that was broken into lines is one text; what it is exchanged for is broken into as many.
  function lines(label) {
    const all = [...label.querySelectorAll('tspan.line')].map(l => l.firstChild).filter(n => n?.nodeType === Node.TEXT_NODE);
    const said = all.map(n => n.data).join(' ');
    if (all.every(n => before.get(n)?.['']?.shown === n.data)) return;
    const shown = translate(said);
    if (shown === said) return;
    const units = shown.match(/[\x21-\x7e]+|\s+|./gu), upTo = i => Math.round(i * units.length / all.length);
    all.forEach((n, i) => {
      const part = units.slice(upTo(i), upTo(i + 1)).join('');
      before.set(n, { '': { said: n.data, shown: part } });
      n.data = part;
    });
  }
  const attribute = (element, name) => {
    if (!element.closest('[translate="no"]')) {
      exchange(element, name, element.getAttribute(name), s => element.setAttribute(name, s));
    }
  };

  function* below(root) {
    yield root;
    const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT | NodeFilter.SHOW_ELEMENT);
    while (walker.nextNode()) yield walker.currentNode;
  }

  function visit(root) {
    for (const node of [...below(root)]) {
      if (node.nodeType === Node.TEXT_NODE) text(node);
      else if (node.nodeType === Node.ELEMENT_NODE) ATTRIBUTES.forEach(a => node.hasAttribute(a) && attribute(node, a));
    }
  }

  const observer = new MutationObserver(changes => {
    for (const change of changes) {
      if (change.type === 'characterData') text(change.target);
      else if (change.type === 'attributes') attribute(change.target, change.attributeName);
      else change.addedNodes.forEach(visit);
    }
  });

  function restore() {
    for (const node of below(document.documentElement)) {
      for (const [name, { said, shown }] of Object.entries(before.get(node) ?? {})) {
        if (name && node.getAttribute(name) === shown) node.setAttribute(name, said);
        else if (!name && node.data === shown) node.data = said;
      }
      before.delete(node);
    }
  }

  async function turnTo(wanted) {
    language = wanted;
    observer.disconnect();
    restore();
    document.documentElement.lang = LANGUAGES[wanted]?.html ?? 'en';
    name();
    if (!LANGUAGES[wanted]) return;
    const dictionary = await fetch(new URL(`${wanted}.json`, here)).then(a => a.json()).catch(() => null);
    if (language !== wanted) return;
    if (!dictionary) { turnTo('en'); return; }
    translate = compile(dictionary, LANGUAGES[wanted]);
    visit(document.documentElement);
    observer.observe(document.documentElement, {
      subtree: true, childList: true, characterData: true, attributes: true, attributeFilter: ATTRIBUTES,
    });
  }

  // The switch --------------------------------------------------------------------------------------------

  const other = () => (LANGUAGES[language] ? ['en', 'English'] : ['zh', LANGUAGES.zh.name]);
  function name() {
    const [code, word] = other();
    document.querySelectorAll('[data-language]').forEach(b => { b.textContent = word; b.lang = code; });
  }
  const kept = () => { try { return localStorage.getItem(KEPT_AS); } catch { return null; } };
  document.addEventListener('click', event => {
    if (!event.target.closest('[data-language]')) return;
    const [wanted] = other();
    try { localStorage.setItem(KEPT_AS, wanted); } catch { /* not kept then */ }
    turnTo(wanted);
  });
  // The page is made later than this script runs; its switch is named when it appears.
  new MutationObserver(() => {
    if (document.querySelector('[data-language]:empty')) name();
  }).observe(document.documentElement, { subtree: true, childList: true });

  const first = kept() ?? (navigator.language || '').slice(0, 2);
  if (LANGUAGES[first]) turnTo(first);
})();
