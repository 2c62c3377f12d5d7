package config

import (
	"net/url"
	"strings"

	"copialettere/journal/evidence"
	"copialettere/policy/checkpoint"
)

// evidence reads [evidence].
func (t *table) evidence(c *Config) checkpoint.Settings {
	var s checkpoint.Settings
	s.KeyFile = t.path("signing_key", "/etc/copialettere/evidence.key")
	t.items("verifier_keys", "archivio.example.org+1a2b3c4d+AbCd...", func(key string, line int) {
		if _, err := evidence.KeyName(key); err != nil {
			t.reader.fail(line, t.key("verifier_keys"), faultf(`write a key as "copialettere checkpoint" or evidence.pub in the data folder has it`, "%v", err))
			return
		}
		s.VerifierKeys = append(s.VerifierKeys, key)
	})
	s.StampURL = t.stampURL()
	s.StampCA = t.path("timestamp_ca", "/etc/copialettere/tsa.pem")
	if s.StampCA != "" && s.StampURL == "" {
		t.fail("timestamp_ca", faultf(`write timestamp_url = "https://..." too, or remove it`, "there is no authority whose certificates these are"))
	}
	s.Folder = t.path("checkpoints", "/srv/elsewhere/checkpoints")
	if s.Folder != "" && (s.Folder == c.Data || strings.HasPrefix(s.Folder, c.Data+"/")) {
		t.fail("checkpoints", faultf("name a folder on another machine or disk", "it lies in the data folder, where it proves nothing"))
	}
	s.Mail = t.flag("mail")
	if s.Mail && (c.Notices == nil || c.Notices.Operator == "") {
		t.fail("mail", faultf(`write [notices] operator = "ADDRESS"`, "there is no address of the operator"))
	}
	return s
}

func (t *table) stampURL() string {
	const example = "https://tsa.example.org/"
	s, ok := t.text("timestamp_url", example)
	if !ok {
		return ""
	}
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		t.fail("timestamp_url", faultf(`write an address such as "`+example+`"`, "%s is no address of an authority", quote(s)))
		return ""
	}
	return s
}
