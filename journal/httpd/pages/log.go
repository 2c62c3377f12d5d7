package pages

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"copialettere/journal"
	"copialettere/policy"
	"copialettere/policy/archive"
	"copialettere/policy/auth"
)

func logRoutes() []Route {
	return []Route{
		{Pattern: "GET /mailbox/{mailbox}/log", For: OfMailbox, Right: archive.RightLook, serve: (*visit).showLog},
	}
}

// logPage is one page of the log of a mailbox, newest first.
type logPage struct {
	Base   string
	Rows   []logRow
	Older  string // the path of the next page; empty at the end
	Newest bool   // it is the first page
}

// logRow is one change in words.
type logRow struct {
	Time               time.Time
	Who, What          string
	Before, After      string
	Messages           uint64
	ByDefault, Cleared bool
}

const logRows = 50

// showLog shows the changes of a mailbox. The parameter before counts them from the oldest, so that a page stays what it is when more come.
func (v *visit) showLog() error {
	var list []archive.Change
	for c, err := range v.pages.options.Archive.Log(v.Context(), v.mailbox) {
		if errors.Is(err, journal.ErrDamaged) {
			continue
		}
		if err != nil {
			return err
		}
		list = append(list, c)
	}
	end := len(list)
	if text := v.URL.Query().Get("before"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return errNoPage
		}
		end = min(n, end)
	}
	p := logPage{Base: v.base(), Newest: end == len(list)}
	begin := max(0, end-logRows)
	for i := end - 1; i >= begin; i-- {
		p.Rows = append(p.Rows, v.logRow(&list[i]))
	}
	if begin > 0 {
		p.Older = v.about("log") + "?before=" + strconv.Itoa(begin)
	}
	return v.render(http.StatusOK, "log.html", p)
}

// logRow returns a change in words.
func (v *visit) logRow(c *archive.Change) logRow {
	row := logRow{
		Time: c.Time, Who: v.actorText(c.Role, c.Who), What: v.changeText(c.Key), Messages: c.Messages, ByDefault: c.Cause == policy.CauseDomainDefault,
		Cleared: c.Key == archive.KeyLog,
	}
	switch {
	case row.Cleared:
	case c.Number == 0: // an act on messages has places, and reasons that people wrote
		row.Before, row.After = c.Before, c.After
	default:
		row.Before, row.After = v.valueText(c.Key, c.Before), v.valueText(c.Key, c.After)
	}
	return row
}

// actorText returns who did something. Acts on messages have role and name in one.
func (v *visit) actorText(role policy.Role, name string) string {
	if role == "" {
		before, after, ok := strings.Cut(name, " ")
		if !ok {
			return name
		}
		role, name = policy.Role(before), after
	}
	switch role {
	case policy.RoleOwner:
		return v.t("titolare %s", "owner %s", name)
	case policy.RolePostmaster:
		return "postmaster " + name
	case policy.RoleOperator:
		return v.t("gestore %s", "operator %s", name)
	case policy.RoleDelegate:
		return v.t("delegato %s", "delegate %s", name)
	case policy.RoleToken:
		return v.t("programma del gestore «%s»", "the program “%s” of the provider", name)
	case policy.RoleProgram:
		return v.t("il programma (%s)", "the program (%s)", name)
	}
	return string(role) + " " + name
}

// changeText returns what was changed.
func (v *visit) changeText(key string) string {
	switch key {
	case policy.KeyAddress:
		return v.t("Indirizzo", "Address")
	case archive.KeyLog:
		return v.t("Modifiche più vecchie tolte dal registro", "Older changes removed from the log")
	case archive.KeyExport:
		return v.t("Messaggi esportati", "Messages exported")
	case archive.KeyImport:
		return v.t("Messaggi importati", "Messages imported")
	case archive.KeyPull:
		return v.t("Importazione da un altro server", "Import from another server")
	case archive.KeySetUpLink:
		return v.t("Codice per configurare un dispositivo", "Code to set up a device")
	case auth.KeyAppPassword:
		return v.t("Password per programmi", "App password")
	case auth.KeySecondFactor:
		return v.t("Secondo fattore", "Second factor")
	case auth.KeyRecoveryCodes:
		return v.t("Codici di recupero rimasti", "Recovery codes left")
	case auth.KeyDelegate:
		return v.t("Delega in lettura", "Delegate")
	case archive.KeySessions:
		return v.t("Sessioni aperte nelle pagine", "Open sessions of the pages")
	case journal.ActMove:
		return v.t("Messaggi spostati", "Messages moved")
	case journal.ActDelete, journal.ActEmpty:
		return v.t("Messaggi cancellati", "Messages deleted")
	case journal.ActUndelete:
		return v.t("Messaggi recuperati", "Messages brought back")
	case journal.ActGiveBack:
		return v.t("Messaggi rimessi nella casella", "Messages put back into the mailbox")
	case journal.ActNotGivenBack:
		return v.t("Non rimessi: il server di posta non li ha presi", "Not put back: the mail server did not take them")
	case journal.ActRelease:
		return v.t("Blocco legale tolto", "Legal hold lifted")
	case journal.ActReturn:
		return v.t("Messaggio di nuovo nell'archivio", "Message in the archive again")
	}
	return policy.Labels(policy.VocabularySettings).Label(key).In(v.language)
}

// valueText returns a value of the log in words: with the time until which it holds, and with the reason of a hold.
func (v *visit) valueText(key, value string) string {
	if value == "" {
		return ""
	}
	text := value
	switch key {
	case archive.KeyExport:
		return v.exportedText(value)
	case policy.KeyAddress, archive.KeyImport, archive.KeyPull, archive.KeySetUpLink, archive.KeySessions, auth.KeyAppPassword, auth.KeyRecoveryCodes:
		return value
	case auth.KeySecondFactor:
		if value == "renewed" {
			return v.t("rinnovato", "renewed")
		}
		return policy.Labels(policy.VocabularySwitches).Label(value).In(v.language)
	case auth.KeyDelegate:
		text, _, _ = strings.Cut(value, " until ")
	default:
		text = policy.ValueLabel(key, value).In(v.language)
	}
	if _, reason, ok := strings.Cut(value, "on: "); ok && key == policy.KeyHold {
		return text + ": " + reason
	}
	for _, word := range []string{" until ", "due "} {
		_, rest, ok := strings.Cut(value, word)
		rest, waits, _ := strings.Cut(rest, ", waits for the ")
		if at, err := time.Parse(time.RFC3339Nano, rest); ok && err == nil {
			if key == policy.KeyErasure {
				text = v.t("%s, dopo il %s", "%s, after %s", text, timeText(v.language, v.zone, at))
				continue
			}
			text = v.t("%s, fino al %s", "%s, until %s", text, timeText(v.language, v.zone, at))
			switch policy.Role(waits) {
			case policy.RolePostmaster:
				text += v.t(", in attesa del postmaster", ", waits for the postmaster")
			case policy.RoleOperator:
				text += v.t(", in attesa del gestore", ", waits for the operator")
			}
		}
	}
	return text
}

// exportedText returns in words what was exported.
func (v *visit) exportedText(value string) string {
	if value == archive.ExportedAll {
		return v.t("tutti", "all")
	}
	var words []string
	for rest := value; rest != ""; {
		key, text, _ := strings.Cut(rest, ":")
		rest = ""
		if key != "folder" { // its name may have blanks, and it is the last
			text, rest, _ = strings.Cut(text, " ")
		}
		at, _ := time.Parse(time.RFC3339, text)
		switch key {
		case "messages":
			n, _ := strconv.ParseUint(text, 10, 64)
			words = append(words, v.amount(n))
		case "bundle":
			words = append(words, v.t("pacchetto di evidenza del messaggio %s", "evidence bundle of the message %s", text))
		case "practice":
			words = append(words, v.t("pacchetto di evidenza della pratica del messaggio %s", "evidence bundle of the practice of the message %s", text))
		case "class":
			for class := range strings.SplitSeq(text, ",") {
				words = append(words, policy.Labels(policy.VocabularyClasses).Label(class).In(v.language))
			}
		case "since":
			words = append(words, v.t("dal %s", "since %s", timeText(v.language, v.zone, at)))
		case "until":
			words = append(words, v.t("fino al %s", "until %s", timeText(v.language, v.zone, at)))
		default:
			words = append(words, text)
		}
	}
	return strings.Join(words, ", ")
}
