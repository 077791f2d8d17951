package example;

import com.nimbusds.jose.JOSEObjectType;
import com.nimbusds.jose.proc.DefaultJOSEObjectTypeVerifier;
import java.util.Collection;
import java.util.List;
import org.springframework.beans.factory.annotation.Value;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;
import org.springframework.security.config.annotation.web.builders.HttpSecurity;
import org.springframework.security.core.GrantedAuthority;
import org.springframework.security.core.authority.SimpleGrantedAuthority;
import org.springframework.security.oauth2.core.DelegatingOAuth2TokenValidator;
import org.springframework.security.oauth2.jose.jws.SignatureAlgorithm;
import org.springframework.security.oauth2.jwt.Jwt;
import org.springframework.security.oauth2.jwt.JwtClaimValidator;
import org.springframework.security.oauth2.jwt.JwtDecoder;
import org.springframework.security.oauth2.jwt.JwtIssuerValidator;
import org.springframework.security.oauth2.jwt.JwtTimestampValidator;
import org.springframework.security.oauth2.jwt.NimbusJwtDecoder;
import org.springframework.security.oauth2.server.resource.authentication.JwtAuthenticationConverter;
import org.springframework.security.web.SecurityFilterChain;

/** Verifies X-Auth-Assertion. The roles of the gateway become ROLE_ authorities. */
@Configuration
class PortcullisSecurity {

    @Bean
    SecurityFilterChain filters(HttpSecurity http) throws Exception {
        var roles = new JwtAuthenticationConverter();
        roles.setJwtGrantedAuthoritiesConverter(PortcullisSecurity::authoritiesOf);
        return http.authorizeHttpRequests(requests -> requests.anyRequest().authenticated())
            .csrf(csrf -> csrf.disable()) // no cookie of this service authenticates: the gateway checks where a request came from
            .oauth2ResourceServer(server -> server
                .bearerTokenResolver(request -> request.getHeader("X-Auth-Assertion"))
                .jwt(jwt -> jwt.jwtAuthenticationConverter(roles)))
            .build();
    }

    /** @param audience this service, as the gateway's route names it */
    @Bean
    JwtDecoder assertions(
        @Value("${portcullis.issuer}") String issuer,
        @Value("${portcullis.audience}") String audience,
        @Value("${portcullis.jwks-uri}") String jwksUri) {
        var decoder = NimbusJwtDecoder.withJwkSetUri(jwksUri)
            .jwsAlgorithm(SignatureAlgorithm.ES256)
            .jwsAlgorithm(SignatureAlgorithm.RS256)
            .jwtProcessorCustomizer(processor ->
                processor.setJWSTypeVerifier(new DefaultJOSEObjectTypeVerifier<>(new JOSEObjectType("assertion+jwt"))))
            .build();
        decoder.setJwtValidator(new DelegatingOAuth2TokenValidator<>(
            new JwtTimestampValidator(),
            new JwtIssuerValidator(issuer),
            new JwtClaimValidator<List<String>>("aud", given -> given != null && given.contains(audience))));
        return decoder;
    }

    private static Collection<GrantedAuthority> authoritiesOf(Jwt jwt) {
        return jwt.getClaimAsStringList("roles").stream()
            .<GrantedAuthority>map(role -> new SimpleGrantedAuthority("ROLE_" + role))
            .toList();
    }
}
