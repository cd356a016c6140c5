// Writes components.json: small tokenizers, one or a few for each component,
// with what Hugging Face's own library makes of the same texts and ids.
// In a folder with `npm install tokenizers@0.23.2`: node generate.mjs > components.json
import { createRequire } from 'node:module'
const { Tokenizer } = createRequire(process.cwd() + '/')('tokenizers')

const texts = [
  '', ' ', 'a', 'hello', 'hello world', ' hello  world ', '  two\n\tlines\r\n ', 'a1b22 333', "don't, I'll; (x) [y] $5+3=8^`~ «q» ¿!",
  'na\u00efve cafe\u0301 \u212b \ufb01 ① Ⅷ ½', '你好,世界', 'x😀y🤷🏽‍♀️', 'ÀÉÎ İSTANBUL ẞ', 'hello<s>world</s> hello <x> y<x>z <w> a<w>b <w>', 'xx<l> a <r> yy<n> É <m> é', '▁hello ▁ ▁▁', 'hello hello\u3000hello\u00a0hello\u2028hello',
  'aaaaaaaaaaaaaaaaaaaa', 'lololol hehehe', '---a--b-', '\u0000\u0007\u007f', 'ab‿c क्षि ९', ' <s> hello', 'HELLO World',
]
const chars = [...new Set([...' abcdefghijklmnopqrstuvwxyz0123456789.,!-_▁éè你HELOWD\'()'])]
const bytes = [...Array(256).keys()].map((b) => `<0x${b.toString(16).toUpperCase().padStart(2, '0')}>`)
const merges = [['h', 'e'], ['l', 'l'], ['he', 'll'], ['hell', 'o'], ['▁', 'hello'], ['a', 'a'], ['aa', 'aa'], ['l', 'o'], ['▁', '▁'], ['o', 'l'], ['1', '2'], ['-', '-'], [' ', 'w'], ['e', 'l'], ['w', 'o']]

function model(options = {}, withBytes = false) {
  const vocab = {}
  const add = (t) => { if (!(t in vocab)) vocab[t] = Object.keys(vocab).length }
  ;['<unk>', '<s>', '</s>'].forEach(add)
  if (withBytes) bytes.forEach(add)
  chars.forEach(add)
  merges.forEach(([a, b]) => add(a + b))
  return { type: 'BPE', dropout: null, unk_token: '<unk>', continuing_subword_prefix: null, end_of_word_suffix: null, fuse_unk: false, byte_fallback: false, ignore_merges: false, vocab, merges, ...options }
}

function byteRune(b) {
  if (b <= 32) return 0x100 + b
  if (b >= 127 && b <= 160) return 0x121 + b - 127
  return b === 173 ? 0x143 : b
}
function byteModel(options = {}) {
  const vocab = {}
  for (let b = 0; b < 256; b++) vocab[String.fromCodePoint(byteRune(b))] = b
  const m = [['h', 'e'], ['l', 'l'], ['he', 'll'], ['hell', 'o'], ['Ġ', 'hello'], ['Ġ', 'Ġ'], ['a', 'a'], ['Ã', '©']]
  m.forEach(([a, b]) => (vocab[a + b] = Object.keys(vocab).length))
  return { type: 'BPE', dropout: null, unk_token: null, continuing_subword_prefix: null, end_of_word_suffix: null, fuse_unk: false, byte_fallback: false, ignore_merges: false, vocab, merges: m.map(([a, b]) => a + ' ' + b), ...options }
}

const added = (content, flags = {}) => ({ id: 0, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true, ...flags })
const specials = [added('<unk>'), added('<s>'), added('</s>')]
const extra = [...specials, added('<x>', { special: false }), added('<w>', { single_word: true }), added('<l>', { lstrip: true }), added('<r>', { rstrip: true, special: false }), added('<n>', { normalized: true, special: false }), added('<m>', { normalized: true, lstrip: true, rstrip: true })]

function file(name, parts) {
  const f = { version: '1.0', truncation: null, padding: null, added_tokens: specials, normalizer: null, pre_tokenizer: null, post_processor: null, decoder: null, model: model(), ...parts }
  let next = Math.max(...Object.values(f.model.vocab)) + 1
  f.added_tokens = f.added_tokens.map((t) => ({ ...t, id: f.model.vocab[t.content] ?? next++ }))
  return [name, f]
}

const seq = (field, list) => ({ type: 'Sequence', [field]: list })
const meta = (o = {}) => ({ type: 'Metaspace', replacement: '▁', prepend_scheme: 'always', split: true, ...o })
const split = (pattern, behavior, invert = false) => ({ type: 'Split', pattern, behavior, invert })
const template = { type: 'TemplateProcessing', single: [{ SpecialToken: { id: '<s>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }, { SpecialToken: { id: '</s>', type_id: 0 } }], pair: [{ Sequence: { id: 'A', type_id: 0 } }, { Sequence: { id: 'B', type_id: 1 } }], special_tokens: { '<s>': { id: '<s>', ids: [1], tokens: ['<s>'] }, '</s>': { id: '</s>', ids: [2], tokens: ['</s>'] } } }
const spDecoder = seq('decoders', [{ type: 'Replace', pattern: { String: '▁' }, content: ' ' }, { type: 'ByteFallback' }, { type: 'Fuse' }, { type: 'Strip', content: ' ', start: 1, stop: 0 }])
const byteLevel = (o = {}) => ({ type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true, ...o })

const files = [
  file('plain', {}),
  file('fuse_unk', { model: model({ fuse_unk: true }) }),
  file('no unk', { model: model({ unk_token: null }) }),
  file('byte_fallback', { model: model({ byte_fallback: true, fuse_unk: true }, true), decoder: spDecoder, added_tokens: extra.slice(0, -1), normalizer: seq('normalizers', [{ type: 'Prepend', prepend: '▁' }, { type: 'Replace', pattern: { String: ' ' }, content: '▁' }]), post_processor: template }),
  file('byte_fallback unfused', { model: model({ byte_fallback: true }, true), decoder: { type: 'ByteFallback' } }),
  file('ignore_merges', { model: byteModel({ ignore_merges: true, vocab: { ...byteModel().vocab, Ġworld: 264 } }), pre_tokenizer: byteLevel(), decoder: byteLevel() }),
  file('byte level', { model: byteModel(), pre_tokenizer: byteLevel({ add_prefix_space: true }), decoder: byteLevel(), post_processor: seq('processors', [byteLevel(), template]), added_tokens: extra }),
  file('byte level without regex', { model: byteModel(), pre_tokenizer: byteLevel({ use_regex: false }), decoder: byteLevel() }),
  file('byte level normalizer', { model: byteModel(), normalizer: { type: 'ByteLevel' }, decoder: byteLevel() }),
  ...['NFC', 'NFD', 'NFKC', 'NFKD', 'Lowercase', 'StripAccents'].map((type) => file(type, { normalizer: { type }, model: byteModel(), pre_tokenizer: byteLevel(), decoder: byteLevel(), added_tokens: extra })),
  file('NFD StripAccents Lowercase', { normalizer: seq('normalizers', [{ type: 'NFD' }, seq('normalizers', [{ type: 'StripAccents' }, { type: 'Lowercase' }])]), model: byteModel(), pre_tokenizer: byteLevel(), decoder: byteLevel(), added_tokens: extra }),
  file('Lowercase normalized token', { normalizer: { type: 'Lowercase' }, added_tokens: [...specials, added('<X>', { normalized: true, special: false }), added('<W>')] }),
  file('Strip both', { normalizer: { type: 'Strip', strip_left: true, strip_right: true }, added_tokens: extra }),
  file('Strip left', { normalizer: { type: 'Strip', strip_left: true, strip_right: false } }),
  file('Replace regex', { normalizer: { type: 'Replace', pattern: { Regex: '[aeiou]+|\\s' }, content: '-' } }),
  ...['always', 'first', 'never'].flatMap((prepend_scheme) => [true, false].map((s) => file(`Metaspace ${prepend_scheme} ${s}`, { pre_tokenizer: meta({ prepend_scheme, split: s }), decoder: meta({ prepend_scheme, split: s }), added_tokens: extra }))),
  ...['Isolated', 'Removed', 'MergedWithPrevious', 'MergedWithNext', 'Contiguous'].flatMap((b) => [
    file(`Split ${b}`, { pre_tokenizer: split({ String: '-' }, b), decoder: { type: 'Fuse' } }),
    file(`Split ${b} regex inverted`, { pre_tokenizer: split({ Regex: '[a-z]+|-' }, b, true) }),
    file(`Punctuation ${b}`, { pre_tokenizer: { type: 'Punctuation', behavior: b } }),
  ]),
  file('Digits', { pre_tokenizer: { type: 'Digits', individual_digits: false } }),
  file('Digits individual', { pre_tokenizer: { type: 'Digits', individual_digits: true } }),
  file('Whitespace', { pre_tokenizer: { type: 'Whitespace' } }),
  file('WhitespaceSplit', { pre_tokenizer: { type: 'WhitespaceSplit' } }),
  file('Sequence', { pre_tokenizer: seq('pretokenizers', [{ type: 'WhitespaceSplit' }, { type: 'Digits', individual_digits: true }, meta({ prepend_scheme: 'first' })]), decoder: meta() }),
  file('decoder Strip start', { decoder: seq('decoders', [{ type: 'Strip', content: 'l', start: 1, stop: 0 }]) }),
  file('decoder Strip stop', { decoder: seq('decoders', [{ type: 'Strip', content: 'o', start: 0, stop: 1 }]) }),
  file('decoder Fuse Strip start', { decoder: seq('decoders', [{ type: 'Fuse' }, { type: 'Strip', content: 'a', start: 2, stop: 0 }]) }),
  file('decoder Fuse Strip stop', { decoder: seq('decoders', [{ type: 'Fuse' }, { type: 'Strip', content: 'o', start: 0, stop: 1 }]) }),
  file('decoder Fuse Replace', { decoder: seq('decoders', [{ type: 'Fuse' }, { type: 'Replace', pattern: { String: 'lol' }, content: '<>' }]) }),
  file('decoder Replace', { decoder: seq('decoders', [{ type: 'Replace', pattern: { String: 'l' }, content: 'L' }, { type: 'Fuse' }]) }),
]

let seed = 12345
const random = (n) => (seed = (seed * 1103515245 + 12345) % 2147483648) % n
const out = []
for (const [name, f] of files) {
  const t = Tokenizer.fromString(JSON.stringify(f))
  // This version writes a normalized token in its normalized spelling: a loss we do not copy.
  const restore = (s) => (name.includes('normalized token') ? s.replaceAll('<x>', '<X>') : s)
  const decode = async (ids, skip) => restore(await t.decode(ids, skip))
  const cases = []
  for (const s of texts) {
    const ids = (await t.encode(s, null, { addSpecialTokens: false })).getIds()
    const ids_special = (await t.encode(s, null, { addSpecialTokens: true })).getIds()
    const dec = ids.length ? await decode(ids, false) : ''
    cases.push({ s, ids, ids_special, dec })
  }
  const known = [...Object.values(f.model.vocab), ...f.added_tokens.map((a) => a.id)]
  const decodes = []
  for (let i = 0; i < 12; i++) {
    const ids = [...Array(1 + random(10)).keys()].map(() => known[random(known.length)])
    ids.push(f.model.vocab.h) // its Strip fails on no tokens at all
    decodes.push({ ids, dec: await decode(ids, false), skip: await decode(ids, true) })
  }
  out.push(JSON.stringify({ name, tokenizer: f, cases, decodes }))
}
console.log('[\n' + out.join(',\n') + '\n]')
