import org.springframework.security.oauth2.jwt.JwtException;
import org.springframework.security.oauth2.jwt.JwtValidators;
import org.springframework.security.oauth2.jwt.NimbusJwtDecoder;

/** Prints the subject of each access token that Spring Security accepts (RFC 9068). */
public class AcceptTokens {
    public static void main(String[] arguments) {
        // The validator looks at the type, so that the decoder need not.
        NimbusJwtDecoder decoder =
                NimbusJwtDecoder.withJwkSetUri(arguments[0]).validateType(false).build();
        decoder.setJwtValidator(JwtValidators.createAtJwtValidator()
                .issuer(arguments[1])
                .audience(arguments[2])
                .build());
        for (int i = 3; i < arguments.length; i++) {
            try {
                System.out.println(decoder.decode(arguments[i]).getSubject());
            } catch (JwtException error) {
                System.out.println("refused: " + error.getMessage());
            }
        }
    }
}
