/** The buyer's page `/t/{token}`: reads what the server wrote, paints it, then goes live. */
import '../../design/tokens.css';
import '../../design/base.css';
import '../../components/button.css';
import { notice, type NoticeWord } from '../../components/notice.ts';
import { brand } from '../../components/brand.ts';
import { languages } from '../../components/languages.ts';
import { followTheme } from '../../design/theme.ts';
import { firstLang, rememberLang, translator, type Lang } from '../../i18n/index.ts';
import { h } from '../../lib/dom.ts';
import { readBoot } from './boot.ts';
import { TrackPage } from './page.ts';
import './track.css';

const boot = readBoot(document.getElementById('inzira-boot')?.textContent ?? null);
const lang = firstLang(boot.lang);

function showNotice(word: NoticeWord): void {
  const end = notice(word);
  const say = (chosen: Lang): void => {
    const t = translator(chosen);
    end.update(t);
    choice.update(chosen, t);
    document.documentElement.lang = chosen;
    document.title = `${t(`end.${word}.title`)} · Inzira`;
  };
  const choice = languages((chosen) => {
    rememberLang(chosen);
    say(chosen);
  });
  document.body.replaceChildren(
    h('header.track-top.is-alone', {}, brand('/'), choice.element),
    end.element,
  );
  say(firstLang(boot.lang));
}

let page: TrackPage | null = null;
// The theme first: the map reads its colours when it is made.
followTheme(() => page?.readTheme());
if (boot.state === 'ok') {
  const made = new TrackPage(boot, lang, () => showNotice('expired'));
  page = made;
  requestAnimationFrame(() => setTimeout(() => made.start()));
} else {
  showNotice(boot.state);
}
