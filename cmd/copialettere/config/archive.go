package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"copialettere/lmtp/nexthop"
	"copialettere/policy"
	"copialettere/policy/pec"
)

// PEC is how certified mail and certified recipients are told from others. The daemon reads the files when it starts, and again when they
// change.
type PEC struct {
	// Trust is whose word on the class of a message the filter believes. With pec.TrustSignature, TrustBundle is not empty.
	Trust pec.Trust
	// DomainsFile is the absolute path of a list of domains, as LoadDomains reads it; "" where there is none.
	DomainsFile string
	// ProviderIndex is the absolute path of the index of providers, as pec.ParseIndex reads it; "" where there is none.
	ProviderIndex string
	// TrustBundle is the absolute path of the trusted certificates, as pec.ParseBundle reads them; "" where there are none.
	TrustBundle string
	// SHA1Chains says whether chains with certificates signed with SHA-1 count, as pec.ResultWeak.
	SHA1Chains bool
	// CRLFolder is the absolute path of a folder with revocation lists, as pec.ParseRevocationLists reads them, in files whose names
	// end in ".crl"; "" where revocation is not checked.
	CRLFolder string
}

// Notices is how notices are mailed to the owners of mailboxes.
type Notices struct {
	// Relay is the SMTP server that takes them.
	Relay nexthop.Spec
	// From is their sender, in lower case.
	From string
	// MaxPerDay is how many notices one mailbox gets in 24 hours, at least 1.
	MaxPerDay int
	// Operator is the address of the operator, in lower case; "" if the operator gets no notices.
	Operator string
}

// Disk holds the watermarks of free space on the file system of the data folder. Where both are shares, or both are sizes, Warn is higher.
type Disk struct {
	// Warn is the free space below which the daemon warns.
	Warn Watermark
	// Stop is the free space below which the journal takes no messages; OnJournalError of the hook then applies.
	Stop Watermark
}

// Watermark is an amount of free space: a share of the file system, or a size. One of its fields is set.
type Watermark struct {
	Percent int   // of the file system, from 1 to 90
	Bytes   int64 // at least 1 MB
}

// String returns the watermark as the file has it.
func (w Watermark) String() string {
	if w.Percent > 0 {
		return formatPercent(int64(w.Percent))
	}
	return formatSize(w.Bytes)
}

// Of returns the watermark in bytes on a file system of that many bytes.
func (w Watermark) Of(capacity int64) int64 {
	if w.Percent > 0 {
		return capacity / 100 * int64(w.Percent)
	}
	return w.Bytes
}

// Retention is how messages past their retention are deleted.
type Retention struct {
	// Hour and Minute are the time of day of the daily run, in the time zone of the machine.
	Hour, Minute int
	// MaxShare is the largest share of all entries, in percent from 1 to 100, that a run deletes without a confirmation.
	MaxShare int
}

// Erase is how the archives of disabled mailboxes are erased.
type Erase struct {
	// Grace is how long a disabled mailbox can be restored.
	Grace time.Duration
}

// rights reads what owners may change. fallback is in force where the table has no list.
func (t *table) rights(fallback policy.Rights) policy.Rights {
	if !t.has("owner") {
		t.value("owner")
		return fallback
	}
	owner := list(t, "owner", policy.KeyNotify, func(s string) (string, *fault) {
		keys := policy.OwnerKeys()
		if slices.Contains(keys, s) {
			return s, nil
		}
		remedy := "write one of " + strings.Join(keys, ", ")
		if near := nearest(s, keys); near != "" {
			remedy = "write " + quote(near)
		}
		return "", faultf(remedy, "%s is not a setting that owners can have the right to change", quote(s))
	}, func(s string) string { return s })
	// Policy takes nil for the default; an empty list gives no right.
	return policy.Rights{Owner: append([]string{}, owner...)}
}

func (t *table) pec() PEC {
	c := PEC{Trust: choice(t, "trust", pec.TrustHeaders, pec.TrustSignature)}
	c.DomainsFile = t.path("domains_file", "/etc/copialettere/domains")
	c.ProviderIndex = t.path("provider_index", "/var/lib/igpec/igpec.ldif.p7m")
	c.TrustBundle = t.path("trust_bundle", "/etc/copialettere/pec-authorities.pem")
	c.SHA1Chains = choice(t, "sha1_chains", pec.ResultUntrusted, pec.ResultWeak) == pec.ResultWeak
	c.CRLFolder = t.path("crl_folder", "/etc/copialettere/crl")
	if c.CRLFolder != "" && !t.has("trust_bundle") {
		t.fail("crl_folder", faultf(`add trust_bundle = "/etc/copialettere/pec-authorities.pem"`,
			"without trust_bundle there is nobody whose revocation lists could be believed"))
	}
	if c.Trust == pec.TrustSignature && !t.has("trust_bundle") {
		t.fail("trust", faultf(`add trust_bundle = "/etc/copialettere/pec-authorities.pem"`,
			"without trust_bundle nobody's signature is trusted, and no message would count as certified"))
	}
	return c
}

// path reads the absolute path of a file; "" where the key is absent or wrong.
func (t *table) path(name, example string) string {
	s, ok := t.text(name, example)
	switch {
	case !ok:
		return ""
	case strings.ContainsRune(s, 0):
		t.fail(name, faultf("remove it", "%s has a NUL character", quote(s)))
	case !filepath.IsAbs(s):
		t.fail(name, faultf("write an absolute path such as "+quote(example), "%s is not an absolute path", quote(s)))
	case filepath.Clean(s) == "/" || strings.HasSuffix(s, "/"):
		t.fail(name, faultf("write the path of a file such as "+quote(example), "%s is a folder", quote(s)))
	}
	return filepath.Clean(s)
}

func (t *table) notices() *Notices {
	t.require("relay", `relay = "smtp:127.0.0.1:25"`)
	t.require("from", `from = "archivio@alpha.test"`)
	c := &Notices{Relay: t.nextHop("relay", "smtp:127.0.0.1:25", "sent")}
	if s, ok := t.text("from", "archivio@alpha.test"); ok {
		var f *fault
		c.From, f = parseAddress(s, "")
		t.check("from", f)
	}
	if s, ok := t.text("operator", "postmaster@alpha.test"); ok {
		var f *fault
		c.Operator, f = parseAddress(s, "")
		t.check("operator", f)
	}
	c.MaxPerDay = t.number("max_per_day", 20, 1, 1000)
	if t.absent {
		return nil
	}
	return c
}

func (t *table) disk() Disk {
	warn, warnOK := t.watermark("warn", Watermark{Percent: 10})
	stop, stopOK := t.watermark("stop", Watermark{Percent: 3})
	// A share and a size can only be compared where the disk is.
	comparable := warnOK && stopOK && (warn.Percent > 0) == (stop.Percent > 0)
	if comparable && (warn.Percent < stop.Percent || warn.Bytes < stop.Bytes || warn == stop) {
		key := "warn"
		if !t.has(key) {
			key = "stop"
		}
		t.fail(key, faultf("raise warn or lower stop", "warn (%s) is not more free space than stop (%s), so the warning would come too late", warn, stop))
	}
	return Disk{Warn: warn, Stop: stop}
}

// watermark reads an amount of free space. For a wrong value it returns the fallback, and false.
func (t *table) watermark(name string, fallback Watermark) (w Watermark, ok bool) {
	s, ok := t.text(name, fallback.String())
	if !ok {
		return fallback, !t.has(name)
	}
	w, f := parseWatermark(s)
	if !t.check(name, f) {
		return fallback, false
	}
	return w, true
}

func parseWatermark(s string) (Watermark, *fault) {
	const minimum = 1e6
	if digits := strings.TrimSuffix(s, "%"); digits != s || strings.Trim(s, "0123456789") == "" {
		n, f := parsePercent(s)
		if f == nil && (n < 1 || n > 90) {
			f = faultf(`write a value from "1%" to "90%"`, "%s is out of range", quote(s))
		}
		return Watermark{Percent: int(n)}, f
	}
	n, f := parseSize(s)
	switch {
	case f != nil:
		f = faultf(`write a share of the disk as "10%", or a size as "50GB"`, "%s is neither", quote(s))
	case n < minimum:
		f = faultf(fmt.Sprintf("write %q or more", formatSize(minimum)), "%s is out of range", quote(s))
	}
	return Watermark{Bytes: n}, f
}

// parsePercent reads "20%".
func parsePercent(s string) (int64, *fault) {
	digits, ok := strings.CutSuffix(s, "%")
	n, err := strconv.ParseUint(digits, 10, 31)
	switch {
	case err != nil || digits[0] == '+':
		return 0, faultf(`write a whole number of percent, as "20%"`, "%s is not a share", quote(s))
	case !ok:
		return 0, faultf(`write "`+shorten(digits)+`%"`, "%s has no unit", quote(s))
	}
	return int64(n), nil
}

func formatPercent(n int64) string { return strconv.FormatInt(n, 10) + "%" }

func (t *table) retention() Retention {
	c := Retention{Hour: 3, Minute: 30}
	if s, ok := t.text("at", "03:30"); ok {
		at, err := time.Parse("15:04", s)
		if err != nil || at.Format("15:04") != s {
			t.fail("at", faultf(`write hours and minutes from "00:00" to "23:59", as "03:30"`, "%s is not a time of day", quote(s)))
		}
		c.Hour, c.Minute = at.Hour(), at.Minute()
	}
	c.MaxShare = int(quantity(t, "max_share", int64(20), 1, 100, parsePercent, formatPercent, "%"))
	return c
}

func (t *table) erase() Erase {
	return Erase{Grace: t.duration("grace", policy.DefaultGrace, time.Hour, 90*24*time.Hour)}
}

// defaults reads the settings that a mailbox of a domain begins with, in the order of policy.Keys.
func (t *table) defaults() []policy.Assignment {
	var all []policy.Assignment
	for _, key := range policy.Keys() {
		if key == policy.KeyNotify && !t.has(key) {
			// Present, it is read only to be refused with a reason.
			continue
		}
		v, ok := t.value(key)
		if !ok {
			continue
		}
		s, ok := v.(string)
		if !ok {
			t.fail(key, faultf(fmt.Sprintf("write %s = %q", key, exampleOf(key, v)), "it must be text in quotes, but is %s", describe(v)))
			continue
		}
		a := policy.Assignment{Key: key, Value: s}
		if t.check(key, checkDefault(a)) {
			all = append(all, a)
		}
	}
	return all
}

// exampleOf guesses the text that somebody meant who wrote a value of another type.
func exampleOf(key string, v any) string {
	switch v := v.(type) {
	case bool:
		if v {
			return "on"
		}
		return "off"
	case int64:
		text := strconv.FormatInt(v, 10)
		for _, s := range []string{text, text + "GB"} {
			if v > 0 && checkDefault(policy.Assignment{Key: key, Value: s}) == nil {
				return s
			}
		}
	}
	examples := map[string]string{
		policy.KeyFilter: "all", policy.KeyRetention: "24", policy.KeyQuota: "1GB", policy.KeyWhenFull: string(policy.WhenFullSkip),
		policy.KeyProtocols: "imap,pop3,smtp", policy.KeyNotify: "none", policy.KeyNotifyOn: "full,gap", policy.KeyLanguage: string(policy.Italian),
		policy.KeyLayout: string(policy.LayoutMonth),
	}
	if s, ok := examples[key]; ok {
		return s
	}
	return "on"
}

// checkDefault returns what is wrong with a default of a domain, or nil.
func checkDefault(a policy.Assignment) *fault {
	c := policy.Config{Domains: []policy.Domain{{Name: "alpha.test", Defaults: []policy.Assignment{a}}}}
	err := c.Validate()
	if err == nil {
		return nil
	}
	problem := quote(a.Value) + " cannot be a default"
	var setting *policy.SettingError
	if !errors.As(err, &setting) {
		return faultf(oneLine(err.Error()), "%s", problem)
	}
	return faultf(oneLine(setting.Remedy), "%s", problem)
}
