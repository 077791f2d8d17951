package example;

import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.security.core.annotation.AuthenticationPrincipal;
import org.springframework.security.oauth2.jwt.Jwt;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.RequestHeader;
import org.springframework.web.bind.annotation.RestController;

@SpringBootApplication
@RestController
public class Server {

    public static void main(String[] args) {
        SpringApplication.run(Server.class, args);
    }

    @GetMapping("/me")
    Map<String, Object> me(@AuthenticationPrincipal Jwt caller, @RequestHeader(name = "X-Auth-Email", required = false) String email) {
        var shown = new HashMap<String, Object>();
        shown.put("id", caller.getSubject());
        shown.put("roles", caller.getClaimAsStringList("roles"));
        var scope = caller.getClaimAsString("scope");
        shown.put("scopes", scope.isEmpty() ? List.of() : List.of(scope.split(" ")));
        shown.put("session", caller.getClaimAsString("sid"));
        shown.put("email", email == null ? null : decoded(email));
        return shown;
    }

    /** The gateway percent-encodes the UTF-8 of each value. A plus sign is a plus sign. */
    private static String decoded(String value) {
        return URLDecoder.decode(value.replace("+", "%2B"), StandardCharsets.UTF_8);
    }
}
